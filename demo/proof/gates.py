"""The note's own conditions, measured: before stage 3 means anything, stages 1 and 2 must have done their work.

Stage 1: the style LoRA on the base draws the style character on white. Stage 2: the merged model draws nothing else,
whatever the prompt asks for.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Final

from demo.proof.families import LOOKS_OF_A_CHARACTER, NO_TAG, read, told
from demo.world.character import Character
from demo.world.scene import Scene
from demo.world.tags import picture_tags, prompt_text
from lora_core.dataset import Frozen
from lora_core.judging.bootstrap import Score, bootstrap

LEAST_SHARE: Final = 0.95
_STRICT: Final = tuple(family for family in LOOKS_OF_A_CHARACTER if family != "eye colour")
_SEED: Final = 9


class Shown(Frozen):
    """What one picture shows."""

    character: bool
    white: bool
    solid: bool

    @property
    def all(self) -> bool:
        """The style character, on white, in the solid look."""
        return self.character and self.white and self.solid


class Gate(Frozen):
    """Shares of pictures that show the style character on white in the solid look, and each of the three alone."""

    share: Score
    character: float
    white: float
    solid: float

    @property
    def passed(self) -> bool:
        """Whether at least 95 % do."""
        return self.share.mean >= LEAST_SHARE


def shown(scores: Mapping[str, float], character: Character | None) -> Shown:
    """What the tagger sees in one picture.

    The character is there when hair colour, ears, skin and ornament are read as its own and no other hair style is
    read: in a close-up that cuts the hair off, a person can't tell the style either. Eye colour does not count: it is a
    few pixels in a cowboy shot, and closed eyes have none. Without a character (`None`) anybody will do.
    """
    own = character is None or all(
        read(family, scores) == told(character, family) for family in _STRICT if family != "hair style"
    )
    return Shown(
        character=own and not (character and _other_hair_style(scores, character)),
        white=scores.get("white_background", 0.0) >= 0.5,
        solid=scores.get("realistic", 0.0) >= 0.5,
    )


def _other_hair_style(scores: Mapping[str, float], character: Character) -> bool:
    style = read("hair style", scores)
    if style == NO_TAG:  # long hair worn open has no tag of its own, only that of its length
        return scores.get("long_hair", 0.0) >= 0.5 and "long_hair" not in character.tags()
    return style != told(character, "hair style")


def gate(pictures: Sequence[Shown]) -> Gate:
    """The shares.

    Raises:
        ValueError: there is no picture.
    """
    shares = {
        part: sum(getattr(one, part) for one in pictures) / max(1, len(pictures))
        for part in ("character", "white", "solid")
    }
    return Gate(share=bootstrap([float(one.all) for one in pictures]), **shares)


def prompts(count: int) -> tuple[str, ...]:
    """Prompts that ask for anybody anywhere, each once and always the same ones."""
    rng = random.Random(_SEED)
    found: dict[str, None] = {}
    while len(found) < count:
        found[prompt_text(picture_tags(Character.random(rng), Scene.random(rng), "flat"))] = None
    return tuple(found)
