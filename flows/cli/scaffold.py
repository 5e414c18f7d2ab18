"""What `headcanon new` writes: the recipe's comments are the options' own descriptions, so they cannot go stale."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from lora_core.errors import OutputExistsError
from lora_core.recipe import COMPOSITIONS, PRESETS, Method, Recipe, ShotPlan
from lora_core.store.files import write_atomically

_HEAD = """\
# headcanon recipe. Put screenshots into {folders}, name your base model, then:
#
#   headcanon run {recipe} --dry-run     show the plan
#   headcanon run {recipe}               do it; kill it whenever you like, run the same command to resume
#
# Screenshots: transparent background, face visible, several angles. The composition is read from the sub-folder or
# from the file name's beginning (upper_body_01.png). The method's counts{for_both}:
# {plan}

name = "{name}"
method = "{method}"{space}# {what}
base = "path/to/model.safetensors"   # an SD1.5 model: a file in the original layout, or a diffusers folder
{style}character = "character"              # yours

[tagger]
model = "SmilingWolf/wd-v1-4-swinv2-tagger-v2"   # or a folder with model.onnx and selected_tags.csv
revision = ""                                    # for a hub repository: the commit to use

[captions]
# What your character *is*: these tags leave the captions, so that the trigger learns them.
# Empty: everything about the body. More rules, one picture's too, go into a file of their own:
#   headcanon caption {recipe} --suggest     writes one to start from, from what the tagger sees
#rules = "captions.toml"
memorize = []   # such as ["blonde_hair", "long_hair", "pointy_ears", "blue_eyes"]

# Everything below is this method's default. Take away a '#' to change a line.
"""
_STYLE = 'style = "style"                      # a character very different from yours, same compositions and angles\n'
_SHOWN = ("name", "base", "tagger", "style", "character", "captions")


def write_new(folder: Path, method: Method = "note") -> str:
    """Write the folder, with a recipe for a method; returns what to do next.

    Raises:
        OutputExistsError: the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError(f"{folder}: exists and is not empty; nothing was written; name a new folder")
    sides = ("style", "character") if _needs_style(method) else ("character",)
    for side in sides:
        for composition in COMPOSITIONS:
            (folder / side / composition).mkdir(parents=True)
    recipe = folder / "recipe.toml"
    plan = ", ".join(f"{name} {ShotPlan().count(name)}" for name in COMPOSITIONS)
    what, space = PRESETS[method].what, " " * max(1, 26 - len(method))
    head = _HEAD.format(
        recipe=recipe, plan=plan, name=folder.absolute().name, method=method, what=what, space=space,
        folders=" and ".join(f"{side}/" for side in sides), for_both=", for both sets" if len(sides) > 1 else "",
        style=_STYLE if "style" in sides else "",
    )  # fmt: skip
    write_atomically(recipe, (head + _defaults(method)).encode())
    return (
        f"Wrote {recipe} and folders for screenshots.\n"
        f"1. Put screenshots into {' and '.join(str(folder / side) for side in sides)} (one folder a composition).\n"
        f"2. Name your base model in {recipe}.\n"
        f"3. headcanon run {recipe} --dry-run"
    )


def _needs_style(method: Method) -> bool:
    any_ = {"name": "any", "base": "any", "style": "any", "character": "any"}
    return Recipe.model_validate({**any_, "method": method}).needs_style


def _defaults(method: Method) -> str:
    lines: list[str] = []
    for section, field in Recipe.model_fields.items():
        if section not in _SHOWN and (model := _options(field.annotation)):
            lines += _section(section, model, PRESETS[method].changes.get(section, {}))
    return "\n".join(lines).lstrip("\n") + "\n"


def _section(title: str, model: type[BaseModel], preset: Mapping[str, Any]) -> Iterator[str]:
    """A table with its options as comments; the tables inside it follow, as TOML wants them."""
    yield from ("", f"[{title}]")
    for name, option in model.model_fields.items():
        if option.default is not PydanticUndefined and not _options(option.annotation):
            yield from textwrap.wrap(f"{option.description}", 110, initial_indent="# ", subsequent_indent="# ")
            yield f"#{name} = {_toml(preset.get(name, option.default))}"
    for name, option in model.model_fields.items():
        if inner := _options(option.annotation):
            yield from _section(f"{title}.{name}", inner, preset.get(name, {}))


def _options(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
