"""From characters and scenes to captions."""

from collections.abc import Iterable
from typing import Final, Literal, get_args

from demo.world.character import EAR_TAGS, HAIR_STYLE_TAGS, Character, ClothesColor, EyeColor, Garment, HairColor
from demo.world.scene import BACKGROUND_TAGS, EXPRESSION_TAGS, Composition, Scene, View

Look = Literal["flat", "solid"]

SUBJECT: Final = ("1girl", "solo")
SOLID_LOOK: Final = ("realistic", "nose", "lips", "3d")


def picture_tags(character: Character, scene: Scene, look: Look) -> tuple[str, ...]:
    """Returns all canonical tags of what a picture shows, in a fixed order."""
    hidden = (f"{character.eye_color}_eyes",) if scene.expression == "closed_eyes" else ()
    tags = (*SUBJECT, *scene.tags(), *(SOLID_LOOK if look == "solid" else ()), *character.tags())
    return tuple(tag for tag in tags if tag not in hidden)


def prompt_text(tags: Iterable[str]) -> str:
    """Returns the text that the text encoder reads: spaces for underscores, joined by commas."""
    return ", ".join(tag.replace("_", " ") for tag in tags)


def _vocabulary() -> tuple[str, ...]:
    groups = [
        SUBJECT,
        get_args(Composition),
        get_args(View),
        *EXPRESSION_TAGS.values(),
        *BACKGROUND_TAGS.values(),
        SOLID_LOOK,
        tuple(f"{color}_hair" for color in get_args(HairColor)),
        *HAIR_STYLE_TAGS.values(),
        tuple(f"{color}_eyes" for color in get_args(EyeColor)),
        *EAR_TAGS.values(),
        ("dark_skin", "hair_flower", "hair_ornament"),
        get_args(Garment),
        tuple(f"{color}_{garment}" for garment in get_args(Garment) for color in get_args(ClothesColor)),
    ]
    return tuple(dict.fromkeys(tag for group in groups for tag in group))


VOCABULARY: Final = _vocabulary()
"""Every tag that the world knows, each once, in a fixed order."""
