"""Has the style stage done its work? The merged model must draw the look whatever the prompt: what it draws by itself,
stage 3 need not learn with the character.

The note demands more: the style LoRA draws the style character on white, the merged model nothing else. That is
reported; a style stage that is trained so long that it comes true costs the character its traits (docs/adr/0018).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from demo.proof.families import LOOKS_OF_A_CHARACTER, NO_TAG, read, told
from demo.world.character import Character
from demo.world.scene import Scene
from demo.world.tags import picture_tags, prompt_text
from lora_core.dataset import Frozen

LEAST_SHARE: Final = 0.95
_STRICT: Final = tuple(family for family in LOOKS_OF_A_CHARACTER if family != "eye colour")
_SEED: Final = 9


class Shown(Frozen):
    """What one picture shows."""

    character: bool
    white: bool
    solid: bool


class Gate(Frozen):
    """Shares of pictures: in the solid look, with the style character, on white, and all three at once."""

    look: float
    character: float
    white: float
    together: float

    @property
    def passed(self) -> bool:
        """Whether at least 95 % show the look."""
        return self.look >= LEAST_SHARE


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
    if not pictures:
        raise ValueError("no picture to judge a gate by")

    def share(holds: Callable[[Shown], bool]) -> float:
        return sum(map(holds, pictures)) / len(pictures)

    return Gate(
        look=share(lambda one: one.solid),
        character=share(lambda one: one.character),
        white=share(lambda one: one.white),
        together=share(lambda one: one.solid and one.character and one.white),
    )


def prompts(count: int) -> tuple[str, ...]:
    """Prompts that ask for anybody anywhere, each once and always the same ones."""
    rng = random.Random(_SEED)
    found: dict[str, None] = {}
    while len(found) < count:
        found[prompt_text(picture_tags(Character.random(rng), Scene.random(rng), "flat"))] = None
    return tuple(found)
