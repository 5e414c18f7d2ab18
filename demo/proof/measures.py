"""What one sample says: how much of the character, how much of the 3D look, how much of the prompt.

Identity and leak are rises over the picture that the base model draws without a LoRA from the same prompt and seed.
"""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Final

from demo.proof.families import SCENERY, of_others, traits
from demo.world.character import Character
from lora_core.dataset import Frozen
from lora_core.judging.evidence import tags_of_prompt
from lora_core.recipe import LEAK_TAGS

IDENTITY: Final = "identity"
LEAK: Final = "leak"
PROBE: Final = "leak (probe)"
ADHERENCE: Final = "adherence"
MAIN: Final = (IDENTITY, LEAK, PROBE, ADHERENCE)
"""What arms are compared by; all others but one are parts of these."""
OTHERS: Final = "others"
"""Share of pictures that show another character's trait."""
_ORDER: Final = (*MAIN, OTHERS)


class Reading(Frozen):
    """One picture as the two instruments see it."""

    tags: Mapping[str, float]
    solid: float


def measures(character: Character, prompt: str, drawn: Reading, base: Reading) -> dict[str, float]:
    """Every figure of one sample, each in [-1, 1].

    Args:
        character: who should be in the picture.
        prompt: as drawn; what it names is no merit of the LoRA and not counted as identity or leak.
        drawn: the sample.
        base: the same prompt and seed without the LoRA.

    Returns:
        `identity` (the mean of the families), `identity: FAMILY` for each family in which the character has a trait,
        `leak` (mean of the look's tags), `leak (probe)`, `adherence: FAMILY` for each family that the prompt asks
        something of, and `adherence`, their mean. A figure that the prompt leaves nothing to is left out. `others` is 1
        for a picture in which the tagger rather sees than not what tells another character, else 0.
    """
    asked = tags_of_prompt(prompt)
    families = {
        f"{IDENTITY}: {family}": _rise(drawn, base, tag)
        for family, tag in traits(character).items()
        if tag not in asked
    }
    looks = [_rise(drawn, base, tag) for tag in LEAK_TAGS if tag not in asked]
    return {
        **_with_mean(IDENTITY, families),
        **({LEAK: fmean(looks)} if looks else {}),
        PROBE: drawn.solid - base.solid,
        OTHERS: float(any(drawn.tags.get(tag, 0.0) >= 0.5 for tag in of_others(character) if tag not in asked)),
        **adherence(prompt, drawn),
    }


def adherence(prompt: str, drawn: Reading) -> dict[str, float]:
    """How far the picture shows what the prompt asks for: mean probability of the tags asked of each family."""
    asked = tags_of_prompt(prompt)
    wanted = {family: [tag for tag in tags if tag in asked] for family, tags in SCENERY.items()}
    shares = {
        f"{ADHERENCE}: {family}": fmean(drawn.tags.get(tag, 0.0) for tag in tags)
        for family, tags in wanted.items()
        if tags
    }
    return _with_mean(ADHERENCE, shares)


def levels(character: Character, prompt: str, base: Reading) -> dict[str, float]:
    """What the base model shows by itself: the same figures of a picture without the LoRA, not as rises."""
    nothing = Reading(tags={}, solid=0.0)
    return measures(character, prompt, base, nothing)


def figure_names(found: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """All figures that occur, means before their parts, in a fixed order."""
    names = {name for one in found for name in one}
    return tuple(sorted(names, key=lambda name: (_ORDER.index(name.partition(":")[0]), name)))


def _rise(drawn: Reading, base: Reading, tag: str) -> float:
    return drawn.tags.get(tag, 0.0) - base.tags.get(tag, 0.0)


def _with_mean(name: str, parts: Mapping[str, float]) -> dict[str, float]:
    return {name: fmean(parts.values()), **parts} if parts else {}
