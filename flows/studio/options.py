"""The options of a character: read from its recipe as a run would, written into its recipe.toml."""

import contextlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args, get_origin

import tomlkit
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from flows.main_options import MAIN, field_at
from flows.place import AllowedFolders
from flows.request import OWN_RECIPE, recipe_of
from flows.studio.files import character_folder
from lora_core.errors import RecipeError
from lora_core.methods import METHODS
from lora_core.recipe import Options, of_folders
from lora_core.store.files import write_atomically

_NOT_HERE = ("name", "runtime", "publish.repository", "publish.private", "publish.token_block")


class Option(NamedTuple):
    """One field of the recipe: `own` where the character's recipe.toml says it, `many` where it is one text a line.

    Choices are as they are shown, or as they are written → as they are shown.
    """

    path: str
    title: str
    description: str
    value: str
    choices: Mapping[str, str] | tuple[str, ...]
    many: bool
    own: bool


def options_of(character: str, preset: str) -> dict[str, list[Option]]:
    """Every option of a character, as it stands: what matters most under "main", the rest by section."""
    place = AllowedFolders()
    recipe, own = recipe_of(place, character, preset=preset), _own_text(character_folder(place, character))
    every = {one.path: one for one in _options(recipe, "", tomllib.loads(own))}
    for path, there in (("base.model", place.bases), ("tagger.model", place.taggers)):
        known = (every[path].value, *map(str, there)) if there else ()
        every[path] = every[path]._replace(choices={one: one.removeprefix(f"{place.folder}/") for one in known})
    found = {"main": [every.pop(path) for path in ("base.model", "tagger.model", *MAIN)]}
    for one in every.values():
        found.setdefault(one.path.rpartition(".")[0] or "general", []).append(one)
    return found


def _options(section: Options, prefix: str, own: Any) -> Iterator[Option]:
    for name, field in type(section).model_fields.items():
        path, value = f"{prefix}{name}", getattr(section, name)
        said = own.get(name) if isinstance(own, Mapping) else None
        if isinstance(value, Options) and path not in _NOT_HERE:
            yield from _options(value, f"{path}.", said)
        elif path not in (*_NOT_HERE, "character.images"):  # which has a place of its own on the page
            choices = tuple(METHODS if path == "method" else _choices(field))  # the best one first
            many, own_one = isinstance(value, tuple), said is not None
            yield Option(path, field.title or name, field.description or "", _shown(value), choices, many, own_one)


def _choices(field: FieldInfo) -> dict[str, object]:
    """By how they are shown."""
    known = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return {_shown(one): one for one in ((True, False) if field.annotation is bool else known)}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "\n".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _read(field: FieldInfo, text: str) -> object:
    """What a text shows; what it cannot be stays a text, and the recipe says what is wrong with it."""
    known, kind = _choices(field), cast(Any, field.annotation)
    many = get_origin(kind) is tuple
    said = [line.strip() for line in text.splitlines() if line.strip()] if many else text.strip()
    with contextlib.suppress(ValidationError):
        read: Any = known[text] if text in known else TypeAdapter(kind).validate_python(said)
        return list(read) if many else read
    return said


def set_options(character: str, preset: str, changes: Mapping[str, str]) -> None:
    """Write options into the character's recipe.toml; an empty text leaves it to the preset.

    Raises:
        RecipeError: an option that is not there, or out of its bounds; the file is left as it was.
    """
    place = AllowedFolders()
    folder = character_folder(place, character)
    document = tomlkit.parse(_own_text(folder))
    for path, text in changes.items():
        field = field_at(path)
        if field is None or path in _NOT_HERE:
            raise RecipeError(f"{path}: there is no such option of a character")
        _set(document, path.split("."), _read(field, text) if text.strip() else None)
    written = tomlkit.dumps(document)
    recipe_of(place, character, preset=preset, own=tomllib.loads(written))
    write_atomically(folder / OWN_RECIPE, written.encode())


def _set(table: Any, path: list[str], value: object) -> None:
    name, *below = path
    if not below and value is not None:
        table[name] = value
    elif not below:
        table.pop(name, None)
    else:
        said = table.setdefault(name, tomlkit.table())
        if isinstance(said, str | list):  # `base = "file"` is short for `[base] model`
            table[name] = said = of_folders(said) if name in ("style", "character") else {"model": said}
        _set(table[name], below, value)
        if not table[name]:
            del table[name]  # an empty section is not the same as none


def _own_text(folder: Path) -> str:
    file = folder / OWN_RECIPE
    return file.read_text("utf-8") if file.is_file() else ""
