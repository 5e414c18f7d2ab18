"""The dozen options that matter most, in one list: of the studio page, and of the form between the short and the full.

What a form leaves empty is the preset's to say. So none of its fields shows a default, and none is sent unless a person
filled it in; a model's own defaults would be sent with every run and overrule each preset.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from pydantic import create_model, model_serializer
from pydantic.fields import FieldInfo

from lora_core.recipe import Options, Recipe

MAIN = (
    "trigger", "method", "character.outfits", "captions.memorize", "captions.outfit", "character_training.epochs",
    "character_training.repeats", "character_training.rank", "character_training.alpha", "character_training.unet_lr",
    "character_training.batch", "character_training.resolution", "style_training.epochs", "sampling.prompts",
    "sampling.scheduler", "sampling.while_training", "gates.epoch",
)  # fmt: skip
"""Paths of the options, in the order in which they are shown."""


def field_at(path: str) -> FieldInfo | None:
    """The option at `section.name` of a recipe; None: there is none."""
    found: FieldInfo | None = None
    kind: Any = Recipe
    for name in path.split("."):
        found = kind.model_fields.get(name) if _is_section(kind) else None
        kind = found and found.annotation
    return None if _is_section(kind) else found


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Options)


def _field(path: str) -> FieldInfo:
    found = field_at(path)
    if found is None:  # a slip in MAIN, which must not become an empty field of the form
        raise KeyError(path)
    field = copy(found)
    field.title = f"{field.title} ({path})" if "." in path else field.title
    field.json_schema_extra = _without_default
    return field


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _key(path: str) -> str:
    return path.replace(".", "__")


_fields: dict[str, Any] = {_key(path): (field.annotation, field) for path in MAIN for field in (_field(path),)}


class MainOptions(create_model("MainOptions", __base__=Options, **_fields)):  # type: ignore[misc]
    """What is empty here is as the preset says, or the recipe.toml beside the screenshots."""

    @model_serializer
    def _filled(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


def sections_of(filled: Mapping[str, Any]) -> dict[str, Any]:
    """What a person filled in, as a recipe says it.

    Args:
        filled: by the form's names; what was left empty is not in it, or is an empty text.
    """
    said: dict[str, Any] = {}
    for path in MAIN:
        value = filled.get(_key(path))
        if value in (None, "", [], ()):
            continue
        *sections, name = path.split(".")
        place = said
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return said
