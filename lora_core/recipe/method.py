"""Which way a character is learned: presets over the other sections. A key that the recipe itself has always wins."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from lora_core.recipe.captions import LEAK_TAGS
from lora_core.recipe.options import Options

Method = Literal["note", "note-low-rank", "difference", "captions-only", "naive"]


class Preset(NamedTuple):
    """A method: what it does in words, and its own defaults by section."""

    what: str
    changes: Mapping[str, Mapping[str, Any]]


PRESETS: Mapping[Method, Preset] = {
    "note": Preset("the character is trained on the base with the 3D look merged into it", {}),
    "note-low-rank": Preset(
        "as note, with a character LoRA of rank 8 and alpha 4, which has less room for what is left of the look",
        {"character_training": {"rank": 8, "alpha": 4.0}},
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


class Difference(Options):
    """Instead of stage 2: the style LoRA out of the character's (docs/adr/0004-difference.md)."""

    use: bool = Field(
        default=False,
        title="Use",
        description="Train the character on the plain base with stage 1's pictures beside it, by the words that stage "
        "1 was trained with and as often as the character's, so that this LoRA learns the look as strongly; then "
        "subtract stage 1's LoRA, module by module. Not together with [merge] use.",
    )
    weight: float = Field(
        default=1.0,
        gt=0,
        le=4,
        title="Strength",
        description="How much of the style LoRA is taken out. 1.0: all that it learned.",
    )
    rank: int = Field(
        default=32,
        ge=0,
        le=1024,
        title="Rank",
        description="What is left is cut back to this rank by its singular values; alpha / rank stays as trained. 32 "
        "is the method's for a character LoRA. 0: exact, of the rank of both trainings together.",
    )


def with_preset(data: Any) -> Any:
    """Recipe data with its method's defaults under its own keys; data that names no known method stays as it is."""
    method = data.get("method") if isinstance(data, Mapping) else None
    preset = next((preset for name, preset in PRESETS.items() if name == method), None)
    if preset is None:
        return data
    return {**data, **{name: _under(data.get(name, {}), changes) for name, changes in preset.changes.items()}}


def _under(section: Any, defaults: Mapping[str, Any]) -> Any:
    """A section's own keys over the defaults."""
    own = section.model_dump(exclude_unset=True) if isinstance(section, BaseModel) else section
    return {**defaults, **own} if isinstance(own, Mapping) else section
