"""The options of a character: read from its recipe as a run would, written into its recipe.toml."""

import contextlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args, get_origin

import tomlkit
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from flows.main_options import MAIN
from flows.place import AllowedFolders
from flows.request import OWN_RECIPE, recipe_of
from flows.studio.files import character_folder
from lora_core.errors import RecipeError
from lora_core.methods import METHODS
from lora_core.recipe import Options, Recipe, of_folders
from lora_core.store.files import write_atomically

_NOT_HERE = ("name", "runtime", "publish.repository", "publish.private", "publish.token_block")
_ELSEWHERE = "character.images"
"""Has a place of its own on the page."""


class Option(NamedTuple):
    """One field of the recipe: `own` where the character's recipe.toml says it, `many` where it is one text a line."""

    path: str
    title: str
    description: str
    value: str
    choices: tuple[str, ...]
    many: bool
    own: bool


def options_of(character: str, preset: str) -> dict[str, list[Option]]:
    """Every option of a character, as it stands: what matters most under "main", the rest by section."""
    place = AllowedFolders()
    recipe = recipe_of(place, character, preset=preset)
    found: dict[str, list[Option]] = {"main": []}
    for one in _options(recipe, "", tomllib.loads(_own_text(character_folder(place, character)))):
        section = one.path.rpartition(".")[0] or "general"
        found.setdefault("main" if one.path in MAIN else section, []).append(one)
    found["main"].sort(key=lambda one: MAIN.index(one.path))
    return found


def _options(section: Options, prefix: str, own: Mapping[str, Any]) -> Iterator[Option]:
    for name, field in type(section).model_fields.items():
        path, value = f"{prefix}{name}", getattr(section, name)
        said = own.get(name) if isinstance(own, Mapping) else None
        if path in (*_NOT_HERE, _ELSEWHERE):
            continue
        if isinstance(value, Options):
            yield from _options(value, f"{path}.", said or {})
            continue
        choices = tuple(METHODS if path == "method" else _choices(field))  # the best one first
        yield Option(
            path, field.title or name, field.description or "", _shown(value), choices, isinstance(value, tuple),
            said is not None,
        )  # fmt: skip


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
        read: Any = known.get(text) if text in known else TypeAdapter(kind).validate_python(said)
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
        _set_option(document, path, text)
    written = tomlkit.dumps(document)
    recipe_of(place, character, preset=preset, own=tomllib.loads(written))
    write_atomically(folder / OWN_RECIPE, written.encode())


def _set_option(document: Any, path: str, text: str) -> None:
    *sections, name = path.split(".")
    model: Any = Recipe
    tables = [document]
    for section in sections:
        model = getattr(model.model_fields.get(section), "annotation", None)
        said = tables[-1].get(section)
        if isinstance(said, str | list):  # `base = "file"` is short for `[base] model`
            tables[-1][section] = of_folders(said) if section in ("style", "character") else {"model": said}
        tables.append(tables[-1].setdefault(section, tomlkit.table()))
    known = model.model_fields if isinstance(model, type) and issubclass(model, Options) else {}
    if path in _NOT_HERE or name not in known:
        raise RecipeError(f"{path}: there is no such option of a character")
    if text.strip():
        tables[-1][name] = _read(known[name], text)
        return
    tables[-1].pop(name, None)
    for table, section in zip(reversed(tables[:-1]), reversed(sections), strict=True):
        if not table[section]:
            table.pop(section)  # an empty section is not the same as none


def _own_text(folder: Path) -> str:
    file = folder / OWN_RECIPE
    return file.read_text("utf-8") if file.is_file() else ""
