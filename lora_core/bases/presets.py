"""Numbers that fit a family of base models: a small TOML file each, with the reason for every number in a comment.

A preset is written like a recipe. The comment above a key says why, and ends with its sources in [brackets], which
docs/bases.md lists. Its own table `[preset]` says what it is for.
"""

import functools
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lora_core.diffusion.source import Prediction
from lora_core.errors import RecipeError
from lora_core.hub.detect import Architecture

_TABLE = re.compile(r"\[([\w.]+)\]")
_KEY = re.compile(r"(\w+) = ")


class BasePreset(BaseModel):
    """A family of base models and the numbers that fit it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Of the file, without ending.")
    title: str
    architecture: Architecture
    prediction: Prediction
    zero_terminal_snr: bool = False
    names: tuple[str, ...] = Field(description="A file of this family has one of these in its name, in small letters.")
    hashes: tuple[str, ...] = Field(default=(), description="SHA-256 of files that are known.")
    sections: Mapping[str, Mapping[str, Any]] = Field(description="The recipe's sections: option → value.")
    reasons: Mapping[str, str] = Field(description="SECTION.OPTION → why, with sources in [brackets].")


@functools.cache
def base_presets() -> tuple[BasePreset, ...]:
    """Every preset that is shipped, by name."""
    folder = resources.files("lora_core.bases")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return tuple(_read(name.removesuffix(".toml"), folder.joinpath(name).read_text("utf-8")) for name in files)


def base_preset(name: str) -> BasePreset:
    """The preset of that name.

    Raises:
        RecipeError: there is none; those that there are, are named.
    """
    for preset in base_presets():
        if preset.name == name:
            return preset
    known = ", ".join(preset.name for preset in base_presets())
    raise RecipeError(f"{name}: no preset of that name; there are {known} (docs/bases.md)")


def _read(name: str, text: str) -> BasePreset:
    data = tomllib.loads(text)
    return BasePreset(name=name, **data.pop("preset"), sections=data, reasons=_reasons(text))


def _reasons(text: str) -> dict[str, str]:
    """The comment above each key."""
    found: dict[str, str] = {}
    section, comment = "", []
    for line in text.splitlines():
        if line.startswith("# "):
            comment.append(line[2:])
            continue
        if table := _TABLE.fullmatch(line):
            section = table[1]
        elif (key := _KEY.match(line)) and comment:
            found[f"{section}.{key[1]}"] = " ".join(comment)
        comment = []
    return found
