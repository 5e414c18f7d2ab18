"""The bias of a set of screenshots: what they have in common apart from the character."""

import re
from collections import Counter
from collections.abc import Sequence

from lora_core.captions import taxonomy
from lora_core.captions.edit import Edited

PLAIN_TAGS = ("white_background", "simple_background")

_LEAST_SHARE = 0.4
_PLACES = re.compile(
    r"(out|in)doors|(?!(white|simple|transparent)_).*_background|(.*_)?sky|(.*_)?clouds?|day|night|evening|dawn|dusk|"
    r"twilight|sun(set|rise|light)?|moon(light)?|(.*_)?(grass|forest|woods|trees?|field|garden|meadow|park|beach|shore|"
    r"ocean|sea|lake|river|waterfall|waves|mountains?|hill|cave|desert|snow|rain|jungle|nature|city|cityscape|street|road|"
    r"alley|bridge|rooftop|building|skyscraper|castle|tower|church|cathedral|shrine|temple|ruins|village|town|station|"
    r"airport|stadium|playground|pool|classroom|school|hallway|corridor|library|bookshelf|office|laboratory|hospital|"
    r"bedroom|bathroom|kitchen|room|interior|cafe|restaurant|bar|shop|store|market|stage|window|fireplace|"
    r"cherry_blossoms|space)|underwater"
)
_POSES = re.compile(
    r"straight-on|from_(side|behind|above|below)|profile|looking_(at_viewer|away|ahead|back|down|up|to_the_side)|"
    r"facing_(viewer|away)|standing(_on_one_leg)?|sitting|kneeling|squatting|lying|on_(back|side|stomach)|wariza|seiza|"
    r"[at]-pose|.*_pose|contrapposto|arms?_(at_sides?|up|behind_(back|head)|crossed)|crossed_(arms|legs)|"
    r"(own_)?hands?_(up|on_(own_)?(hips?|chest|face|cheek|head)|together)|outstretched_arms?|spread_arms|leaning_.*|"
    r"head_tilt|v|peace_sign|waving"
)


def tags_of_prompt(prompt: str) -> tuple[str, ...]:
    """The canonical tags that a prompt names: split at commas, spaces to underscores."""
    return tuple(part.strip().lower().replace(" ", "_") for part in prompt.split(",") if part.strip())


def asks_for_a_place(tags: Sequence[str]) -> bool:
    """Whether a prompt's tags name a background that is neither white nor simple."""
    return any(_PLACES.fullmatch(tag) for tag in tags) and not any(tag in PLAIN_TAGS for tag in tags)


def traits_of(edited: Sequence[Edited], least_share: float = _LEAST_SHARE) -> tuple[str, ...]:
    """What the character is: tags taken out as traits on at least this share of its pictures, the commonest first."""
    removed = (
        change.tag for one in edited for change in one.changes if change.action == "removed" and change.kind == "traits"
    )
    return _common(Counter(removed), least_share, len(edited))


def dataset_bias_of(edited: Sequence[Edited], least_share: float = _LEAST_SHARE) -> tuple[str, ...]:
    """Framings, views and poses on at least this share of the pictures, the commonest first."""
    seen = (tag for one in edited for tag in {*one.before, *one.tags} if is_framing_or_pose(tag))
    return _common(Counter(seen), least_share, len(edited))


def is_framing_or_pose(tag: str) -> bool:
    """Whether a tag says how a person is framed, seen or posed."""
    return taxonomy.is_framing(tag) or _POSES.fullmatch(tag) is not None


def _common(counts: Counter[str], least_share: float, pictures: int) -> tuple[str, ...]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(tag for tag, count in ranked if count / pictures >= least_share)
