"""A character from words, and words for what a character can be."""

from typing import Any, Final, get_args

from demo.world.character import (
    EAR_TAGS,
    HAIR_STYLE_TAGS,
    Character,
    ClothesColor,
    EyeColor,
    Garment,
    HairColor,
)

_MEANING: Final[dict[str, dict[str, Any]]] = {
    **{f"{color} hair": {"hair_color": color} for color in get_args(HairColor)},
    **{tags[-1].replace("_", " "): {"hair_style": style} for style, tags in HAIR_STYLE_TAGS.items()},
    "twin braids": {"hair_style": "twin_braids"},
    **{f"{color} eyes": {"eye_color": color} for color in get_args(EyeColor)},
    **{f"{ears} ears": {"ears": ears} for ears, tags in EAR_TAGS.items() if tags},
    "dark skin": {"skin": "dark"},
    "hair flower": {"hair_flower": True},
    **{
        f"{color} {garment}": {"garment": garment, "clothes_color": color}
        for garment in get_args(Garment)
        for color in get_args(ClothesColor)
    },
}


def described(text: str) -> Character:
    """Returns the character that tags describe, such as "pink hair, twintails, green eyes, cat ears, blue hoodie".

    Raises:
        ValueError: a word that means nothing here, two that contradict each other, or hair or eyes left out.
    """
    fields: dict[str, Any] = {}
    for tag in (part.strip().replace("_", " ") for part in text.split(",")):
        if tag not in _MEANING:
            raise ValueError(f"{tag!r} describes nobody here; known: {', '.join(sorted(_MEANING))}")
        for field, value in _MEANING[tag].items():
            if fields.setdefault(field, value) != value:
                raise ValueError(f"{tag!r} contradicts {field.replace('_', ' ')} {fields[field]!r}")
    missing = [field.replace("_", " ") for field in ("hair_color", "hair_style", "eye_color") if field not in fields]
    if missing:
        raise ValueError(f"{text!r} leaves out {', '.join(missing)}")
    return Character(**fields)
