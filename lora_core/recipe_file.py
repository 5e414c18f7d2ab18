"""From a recipe.toml to a `Recipe`, with errors that say where, what was got and what is allowed."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lora_core.bounded import read_toml
from lora_core.errors import RecipeError
from lora_core.printable import clipped
from lora_core.recipe import PathField, Recipe, with_paths

_NAME_BYTES = 255


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.toml; relative paths in it are taken from the recipe's folder.

    Raises:
        RecipeError: not TOML, an unknown key (the nearest known one is named), or a value out of bounds.
    """
    try:
        data = read_toml(path, RecipeError)
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such recipe; `headcanon new DIR` writes one to start from") from None
    return anchored(parse_recipe(data, str(path)), path.parent)


def parse_recipe(data: Any, where: str) -> Recipe:
    """A recipe from plain data; `where` names its source in messages.

    Raises:
        RecipeError: as `read_recipe`.
    """
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error, Recipe)}") from None


def anchored(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its paths made absolute, relative ones taken from `folder`."""

    def absolute(field: PathField, text: str) -> str:
        """A hub repository stays as it is, unless a file or folder of that name lies there."""
        _refuse_long_names(text)
        path = folder / Path(text).expanduser()
        if field.or_repository and not looks_like_path(text) and not path.exists():
            return text
        return os.path.normpath(path.absolute()) if text and "://" not in text else text

    return with_paths(recipe, absolute)


def _refuse_long_names(path: str) -> None:
    """Refuse a path that no disk has.

    Raises:
        RecipeError: a name in it is too long.
    """
    if (taken := max((len(name.encode()) for name in Path(path).parts), default=0)) > _NAME_BYTES:
        raise RecipeError(f"{clipped(path)}: a name of {taken} bytes in a path; file systems take {_NAME_BYTES}")


def looks_like_path(text: str) -> bool:
    """Whether a model's name is a path rather than a hub repository `owner/name`."""
    return (
        text.startswith(("/", "./", "../", "~", ".\\"))
        or "\\" in text
        or text.count("/") != 1
        or text.lower().endswith((".safetensors", ".ckpt", ".pt", ".bin"))
    )


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of a validation as one line: where, what was got, what is allowed."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "recipe"
    if not first["loc"] and first["type"] == "value_error":  # of several sections together: it says itself where
        return first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"unknown option {where!r}; {hint}"
    if first["type"] == "missing":
        return f"{where!r} is missing"
    got = "" if isinstance(first["input"], Mapping | BaseModel) else f" = {_shown(first['input'])}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}{got}: {message[:1].lower()}{message[1:]}"


def _shown(value: object) -> str:
    """A value for a message. Python writes out no number of more than 4,300 digits."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "something too long to be shown"
    return clipped(text)


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
