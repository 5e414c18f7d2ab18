"""What metrics are computed from, apart from the samples: scores, captions, and the dataset's own bias."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lora_core.captions import taxonomy
from lora_core.captions.edit import Edited
from lora_core.captions.emphasis import unemphasized
from lora_core.dataset import TagTable
from lora_core.errors import DatasetError
from lora_core.judging.character import Recognized
from lora_core.judging.leak import Look
from lora_core.judging.similarity import Closest, Embedded, Nearest, Similarity
from lora_core.sampling.samples import Sample

PLAIN_TAGS = ("white_background", "simple_background")

_LEAST_SHARE = 0.4
_NO_SLIP = 0.05
_DRAWN_ANYWAY = 0.5
_SAME_TRAIT = {
    "hair_length": "hair_style", "bangs": "hair_style", "pupils": "eye_color", "eye_shape": "eye_color",
    "species": "ears", "horns_tails_wings": "ears",
}  # fmt: skip
"""Families of the taxonomy that a viewer counts as one: five tags of a haircut are one trait."""
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
    """The canonical tags that a prompt names: without emphasis, split at commas, spaces to underscores."""
    return tuple(part.strip().lower().replace(" ", "_") for part in unemphasized(prompt).split(",") if part.strip())


def asks_for_a_place(tags: Sequence[str]) -> bool:
    """Whether a prompt's tags name a background that is neither white nor simple."""
    return any(_PLACES.fullmatch(tag) for tag in tags) and not any(tag in PLAIN_TAGS for tag in tags)


def traits_of(edited: Sequence[Edited], least_share: float = _LEAST_SHARE) -> tuple[str, ...]:
    """What the character is: tags taken out as traits on at least this share of its pictures, the commonest first."""
    removed = (
        change.tag for one in edited for change in one.changes if change.action == "removed" and change.kind == "traits"
    )
    return _common(Counter(removed), least_share, len(edited))


def seen_of(edited: Sequence[Edited]) -> tuple[str, ...]:
    """What the tagger reads on the pictures or somebody says of them, the commonest first; no slip of a single one."""
    found = Counter(tag for one in edited for tag in {*one.before, *one.tags})
    return _common(found, _NO_SLIP, len(edited))


def trait_family(tag: str) -> str:
    """What a trait is about: the hair's colour, the haircut, eyes, ears; a tag of no family stands alone."""
    family = taxonomy.family_of(tag) or tag
    return _SAME_TRAIT.get(family, family)


def drawn_anyway(base: Sequence[Sample], table: TagTable, traits: Sequence[str]) -> tuple[str, ...]:
    """Traits that the base draws without the LoRA on at least half of the prompts that do not ask for them."""
    found = []
    for tag in traits:
        values = [probability(one, table, tag) for one in base if tag not in tags_of_prompt(one.prompt)]
        if values and fmean(values) >= _DRAWN_ANYWAY:
            found.append(tag)
    return tuple(found)


def dataset_bias_of(edited: Sequence[Edited], least_share: float = _LEAST_SHARE) -> tuple[str, ...]:
    """Framings, views and poses on at least this share of the pictures, the commonest first."""
    common = (tag for one in edited for tag in {*one.before, *one.tags} if is_framing_or_pose(tag))
    return _common(Counter(common), least_share, len(edited))


def is_framing_or_pose(tag: str) -> bool:
    """True for a tag of framing, view or pose."""
    return taxonomy.is_framing(tag) or _POSES.fullmatch(tag) is not None


def _common(counts: Counter[str], least_share: float, pictures: int) -> tuple[str, ...]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(tag for tag, count in ranked if count / pictures >= least_share)


SamplePair = tuple[Sample, Sample]
"""A sample, and the one of the same prompt and seed without the LoRA."""


@dataclass(frozen=True)
class Evidence:
    """What the tagger, the hashes, the models and the captions tell of the samples.

    Attributes:
        table: the tagger's scores.
        labels: tags that the tagger knows.
        similarity: distances between pictures.
        traits: what the character is.
        dataset_bias: framings and poses that its screenshots have in common.
        copy_bits: a sample this near to a screenshot is a copy.
        classifier: image digest → probability of the look by the auxiliary classifier; None: there is none.
        embedded: how near samples come to screenshots by an image encoder; None: there is none.
        copy_cosine: a sample this near to a screenshot by the encoder is a copy.
        look: what measures the 3D look.
        drawn_anyway: traits that the base draws by itself; they count nothing.
        recognized: how often a character model takes samples for the character; None: there is none.
        outfits: the tag that calls an outfit → the tags that it is.
    """

    table: TagTable
    labels: Collection[str]
    similarity: Similarity
    traits: tuple[str, ...]
    dataset_bias: tuple[str, ...] = ()
    copy_bits: int = 32
    classifier: Mapping[str, float] | None = None
    embedded: Embedded | None = None
    copy_cosine: float = 0.95
    look: Look = field(default_factory=Look)
    drawn_anyway: tuple[str, ...] = ()
    recognized: Recognized | None = None
    outfits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def counted_traits(self) -> tuple[str, ...]:
        """Traits that identity is measured on."""
        return self.known([tag for tag in self.traits if tag not in self.drawn_anyway])

    def known(self, tags: Sequence[str]) -> tuple[str, ...]:
        """The tags that can be measured, each once."""
        return tuple(tag for tag in dict.fromkeys(tags) if tag in self.labels)

    def nearest(self, drawn: Sequence[Sample]) -> list[Nearest]:
        """The screenshot most like each sample; nothing without screenshots."""
        found = self.similarity.nearest
        return [found[sample.image] for sample in drawn] if found else []

    def closest(self, drawn: Sequence[Sample]) -> list[Closest]:
        """The screenshot nearest to each sample by the encoder; nothing without an encoder or screenshots."""
        found = self.embedded.closest if self.embedded else {}
        return [found[sample.image] for sample in drawn] if found else []


def probability(sample: Sample, table: TagTable, tag: str) -> float:
    """What the tagger gives a general tag on a sample; 0 below its floor.

    Raises:
        DatasetError: the picture was not tagged.
    """
    if sample.image not in table.images:
        raise DatasetError(f"{sample.file}: no tagger scores for this sample; tag the samples again")
    return table.images[sample.image].general.get(tag, 0.0)
