"""From a recipe.toml to a `Recipe`, with errors that say where, what was got and what is allowed."""

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lora_core import foreign_options
from lora_core.bounded import read_toml
from lora_core.errors import RecipeError
from lora_core.printable import clipped, one_line
from lora_core.recipe import Outfit, PathField, Recipe, with_paths

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
    return with_outfits(anchored(parse_recipe(data, str(path)), path.parent))


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
        text = _of_this_system(text, folder)
        path = folder / Path(text).expanduser()
        if field.or_repository and not looks_like_path(text) and not path.exists():
            return text
        return os.path.normpath(path.absolute()) if text and "://" not in text else text

    return with_paths(recipe, absolute)


def with_outfits(recipe: Recipe) -> Recipe:
    """The recipe with the outfits that sub-folders of the screenshots are named after, as sd-scripts names them.

    Raises:
        RecipeError: an outfit without its folder, outfits that are redrawn, or prompts for outfits and none there.
    """
    images, said = Path(recipe.character.images), {outfit.folder for outfit in recipe.wardrobe}
    if not images.is_dir():  # said where screenshots are looked for
        return recipe
    if missing := next((folder for folder in said if not (images / folder).is_dir()), None):
        raise RecipeError(f"character.outfits: there is no folder {missing!r} in {images}; make it, or mend the line")
    try:
        names = sorted(path.name for path in images.iterdir() if path.is_dir() and path.name not in said)
    except OSError:  # likewise
        return recipe
    own = (recipe.name.lower(), recipe.trigger.lower())
    found = [
        f"{name} = {name}"
        for name in names
        if name.isprintable() and (outfit := Outfit.of_words(name, name))
        if outfit.repeats and outfit.words.startswith(own)
    ]
    try:
        recipe = recipe.wearing((*recipe.character.outfits, *found)) if found else recipe
    except ValueError as error:
        raise RecipeError(f"{images}: {error}") from None
    drawn = tuple(prompt for prompt in recipe.sampling.prompts if "{outfit}" not in prompt)
    if not drawn:
        raise RecipeError("sampling.prompts: all are for {outfit}, and the character has none; add one without it")
    return recipe.model_copy(update={"sampling": recipe.sampling.model_copy(update={"prompts": drawn})})


_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def _of_this_system(path: str, folder: Path) -> str:
    """A path that this system can have: on others than Windows a relative one with backslashes gets slashes.

    Raises:
        RecipeError: it holds a control character, is another system's, or a name in it is too long.
    """
    if any(ord(letter) < 32 for letter in path):
        raise RecipeError(
            f"{one_line(path.encode('unicode_escape').decode())}: in double quotes \\n, \\t and their like are control "
            "characters; write a path with backslashes in single quotes, as 'C:\\models\\base.safetensors'"
        )
    if os.name != "nt" and "://" not in path and not (folder / path).exists():
        if _WINDOWS.match(path):
            drive = path[:1].lower()
            wsl = f", under WSL /mnt/{drive}{path[2:].replace(chr(92), '/')}" if path[1:2] == ":" else ""
            raise RecipeError(f"{clipped(path)}: a path of Windows, and this system is none; write its own path{wsl}")
        path = path.replace("\\", "/")
    if (taken := max((len(name.encode()) for name in Path(path).parts), default=0)) > _NAME_BYTES:
        raise RecipeError(f"{clipped(path)}: a name of {taken} bytes in a path; file systems take {_NAME_BYTES}")
    return path


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
        if elsewhere := foreign_options.hint(str(first["loc"][-1]), dict(_sections(model))):
            return f"unknown option {where!r}; {elsewhere}"
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"unknown option {where!r}; {hint}"
    if first["type"] == "missing":
        return f"{where!r} is missing"
    if first["type"] == "tuple_type":
        wanted = [part.strip() for part in first["input"].split(",")] if isinstance(first["input"], str) else ["…"]
        listed = clipped(json.dumps(wanted, ensure_ascii=False))
        return f"{where} = {_shown(first['input'])}: not a list; write {where.rpartition('.')[2]} = {listed}"
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


def _sections(model: type[BaseModel], title: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every section with the names of its own options."""
    yield title, tuple(model.model_fields)
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _sections(field.annotation, f"{title}.{name}" if title else name)


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
