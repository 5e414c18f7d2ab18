"""Tags of the drawn world by what they speak of: which one tells a trait, and which exclude one another."""

from collections.abc import Mapping
from typing import Final, get_args

from demo.world.character import (
    EAR_TAGS,
    HAIR_STYLE_TAGS,
    Character,
    ClothesColor,
    EyeColor,
    Garment,
    HairColor,
    HairStyle,
)
from demo.world.scene import BACKGROUND_TAGS, EXPRESSION_TAGS, Composition

NO_TAG: Final = ""
"""Read off a picture when no tag of a family reaches one half: no animal ears, say, or long hair worn open."""

_STYLES: Final[Mapping[HairStyle, str]] = {
    "short": "short_hair",
    "twintails": "twintails",
    "ponytail": "ponytail",
    "twin_braids": "twin_braids",
}
LOOKS_OF_A_CHARACTER: Final[Mapping[str, tuple[str, ...]]] = {
    "hair colour": tuple(f"{color}_hair" for color in get_args(HairColor)),
    "hair style": tuple(_STYLES.values()),
    "eye colour": tuple(f"{color}_eyes" for color in get_args(EyeColor)),
    "ears": tuple(tags[-1] for tags in EAR_TAGS.values() if tags),
    "skin": ("dark_skin",),
    "ornament": ("hair_flower",),
}
"""Family → tags of which a picture of one character shows at most one."""

SCENERY: Final[Mapping[str, tuple[str, ...]]] = {
    "background": tuple(dict.fromkeys(tag for tags in BACKGROUND_TAGS.values() for tag in tags)),
    "framing": get_args(Composition),
    "clothes": tuple(f"{color}_{garment}" for garment in get_args(Garment) for color in get_args(ClothesColor)),
    "expression": tuple(dict.fromkeys(tag for tags in EXPRESSION_TAGS.values() for tag in tags)),
}
"""Family → tags that a prompt can ask for whoever is drawn."""


def traits(character: Character) -> dict[str, str]:
    """Family → the one tag that tells this character's trait; a family in which it has nothing is left out."""
    style = _STYLES.get(character.hair_style, HAIR_STYLE_TAGS[character.hair_style][0])
    every = {family: told(character, family) for family in LOOKS_OF_A_CHARACTER} | {"hair style": style}
    return {family: tag for family, tag in every.items() if tag != NO_TAG}


def of_others(character: Character) -> tuple[str, ...]:
    """Tags of looks that this character has not. An ornament is none of them: it may come with the clothes."""
    own = character.tags()
    every = (tags for family, tags in LOOKS_OF_A_CHARACTER.items() if family != "ornament")
    return tuple(tag for tags in every for tag in tags if tag not in own)


def told(character: Character, family: str) -> str:
    """The family's tag that a true picture of this character shows, or `NO_TAG`."""
    tags = character.tags()
    return next((tag for tag in LOOKS_OF_A_CHARACTER[family] if tag in tags), NO_TAG)


def read(family: str, scores: Mapping[str, float]) -> str:
    """The family's likeliest tag in a tagger's scores, or `NO_TAG` if none reaches one half."""
    best = max(LOOKS_OF_A_CHARACTER[family], key=lambda tag: scores.get(tag, 0.0))
    return best if scores.get(best, 0.0) >= 0.5 else NO_TAG
