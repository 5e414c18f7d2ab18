"""The methods: what each does in words, and what it sets where the recipe says nothing."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from lora_core.methods import Method
from lora_core.recipe.pictures import LEAK_TAGS


class Preset(NamedTuple):
    """A method: what it does in words, and its own defaults by section."""

    what: str
    changes: Mapping[str, Mapping[str, Any]]


PRESETS: Mapping[Method, Preset] = {
    "auto": Preset(
        "the base is asked first: if it knows a word for the look, captions-only is taken, else note; both redraw",
        {"redraw": {"use": True}},
    ),
    "note": Preset("the character is trained on the base with the 3D look merged into it", {}),
    "note-low-rank": Preset(
        "as note, with a character LoRA of rank 8 and alpha 4, which has less room for what is left of the look",
        {"character_training": {"rank": 8, "alpha": 4.0}},
    ),
    "named-look": Preset(
        "the look gets a word of its own, on the style's pictures and on the character's, and is merged into the base",
        {
            "style": {"captions": "tags", "named": True},
            # Of the U-Net alone: what the words of the look's pictures mean is left to the base.
            "style_training": {"text_encoder_lr": 0.0},
            "regularization": {"use": False},
            "captions": {"add": (), "face": (), "drop": LEAK_TAGS},
        },
    ),
    "textual-inversion": Preset(
        "the look gets a word of its own, whose vectors alone are learned; the character is trained straight on the "
        "base, with that word in its captions",
        {
            "style": {"captions": "tags", "named": True},
            "style_training": {"inversion": True, "text_encoder_lr": 5e-3, "weight_decay": 0.0},
            "merge": {"use": False},
            "regularization": {"use": False},
            "captions": {"add": (), "face": (), "drop": LEAK_TAGS},
        },
    ),
    "difference": Preset(
        "a LoRA of look and character minus a LoRA of the look, both trained on the plain base",
        {
            "merge": {"use": False},
            "difference": {"use": True},
            "character_training": {"rank": 64, "alpha": 32.0},
        },
    ),
    "captions-only": Preset(
        "the character is trained straight on the base; captions that name the look are all that keeps it out",
        {"merge": {"use": False}, "regularization": {"use": False}},
    ),
    "naive": Preset(
        "the character is trained straight on the base, without any of the method's means; to compare",
        {
            "merge": {"use": False},
            "regularization": {"use": False},
            # A tagger that sees the look would caption it by itself, which is the method's own means to keep it out.
            "captions": {"add": (), "face": (), "drop": LEAK_TAGS},
        },
    ),
}

_STAGES: Final = ("merge", "difference", "regularization", "redraw")


def with_preset(data: Any) -> Any:
    """Recipe data with its method's defaults under its own keys; data that names no known method stays as it is."""
    method = data.get("method") if isinstance(data, Mapping) else None
    preset = next((preset for name, preset in PRESETS.items() if name == method), None)
    if preset is None:
        return data
    return {**data, **{name: _under(data.get(name, {}), changes) for name, changes in preset.changes.items()}}


def in_words(recipe: Any) -> str:
    """The recipe's method and what it does, and which stages the recipe itself switches on or off."""
    what, changes = PRESETS[recipe.method]
    own = []
    for name in _STAGES:
        section = getattr(recipe, name)
        usual = changes.get(name, {}).get("use", type(section).model_fields["use"].default)
        if section.use != usual:
            own.append(f"[{name}] use = {str(section.use).lower()}")
    return f"{recipe.method}: {what}" + (f"; here with {', '.join(own)}" if own else "")


def of_folders(section: Any) -> Any:
    """A section of screenshots from its short form: a folder, or several."""
    if isinstance(section, str):
        return {"images": section}
    if isinstance(section, list | tuple) and section:
        return {"images": section[0], "more": section[1:]}
    return section


def _under(section: Any, defaults: Mapping[str, Any]) -> Any:
    """A section's own keys over the defaults."""
    own = section.model_dump(exclude_unset=True) if isinstance(section, BaseModel) else section
    own = of_folders(own)
    return {**defaults, **own} if isinstance(own, Mapping) else section
