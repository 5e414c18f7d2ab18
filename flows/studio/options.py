"""The options of a character: read from its recipe as a run would, written into its recipe.toml."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import tomlkit

from flows.main_options import MAIN
from flows.place import CHARACTERS, AllowedFolders
from flows.request import OWN_RECIPE, recipe_of
from lora_core.errors import RecipeError
from lora_core.methods import METHODS
from lora_core.recipe import Options, Recipe, of_folders
from lora_core.store.files import write_atomically

_NOT_HERE = ("name", "runtime", "publish.repository", "publish.private", "publish.token_block")
_ELSEWHERE = "character.images"
"""Has a place of its own on the page."""


class Option(NamedTuple):
    """One field of the recipe: `own` where the character's recipe.toml says it."""

    path: str
    title: str
    description: str
    kind: Literal["switch", "choice", "text", "list"]
    value: str
    choices: tuple[str, ...]
    own: bool


def options_of(character: str, preset: str) -> dict[str, list[Option]]:
    """Every option of a character, as it stands: what matters most under "main", the rest by section."""
    place = AllowedFolders()
    recipe = recipe_of(place, character, preset=preset)
    found: dict[str, list[Option]] = {"main": []}
    for one in _options(recipe, "", tomllib.loads(_own_text(folder_of(place, character)))):
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
            yield from _options(value, f"{path}.", said if isinstance(said, Mapping) else {})
            continue
        known = METHODS if path == "method" else get_args(field.annotation)  # the best one first
        choices = tuple(str(one) for one in known if isinstance(one, str))
        kind: Literal["switch", "choice", "text", "list"] = (
            "switch" if isinstance(value, bool) else "choice" if choices
            else "list" if isinstance(value, tuple) else "text"
        )  # fmt: skip
        yield Option(path, field.title or name, field.description or "", kind, _shown(value), choices, said is not None)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "\n".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def folder_of(place: AllowedFolders, character: str) -> Path:
    """A character's folder."""
    return place.inside(f"{CHARACTERS}/{character}", "folder")


def set_options(character: str, preset: str, changes: Mapping[str, str]) -> None:
    """Write options into the character's recipe.toml; an empty text leaves it to the preset.

    Raises:
        RecipeError: an option that is not there, or out of its bounds; the file is left as it was.
    """
    place = AllowedFolders()
    folder = folder_of(place, character)
    recipe = recipe_of(place, character, preset=preset)
    document = tomlkit.parse(_own_text(folder))
    for path, text in changes.items():
        _set_option(document, recipe, path, text)
    written = tomlkit.dumps(document)
    recipe_of(place, character, preset=preset, own=tomllib.loads(written))
    write_atomically(folder / OWN_RECIPE, written.encode())


def _set_option(document: Any, recipe: Recipe, path: str, text: str) -> None:
    *sections, name = path.split(".")
    now: Any = recipe
    table = document
    for section in sections:
        now = getattr(now, section, None)
        said = table.get(section)
        if isinstance(said, str | list):  # `base = "file"` is short for `[base] model`
            table[section] = of_folders(said) if section in ("style", "character") else {"model": said}
        table = table.setdefault(section, tomlkit.table())
    if path in _NOT_HERE or not isinstance(now, Options) or name not in type(now).model_fields:
        raise RecipeError(f"{path}: there is no such option of a character")
    value = _value(getattr(now, name), text)
    if value is None:
        table.pop(name, None)
        if sections and not table:
            document.pop(sections[0])  # an empty section is not the same as none
    else:
        table[name] = value


def _value(now: object, text: str) -> object:
    """A text as TOML would hold it; what is no number stays a text, and the recipe says what is wrong with it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    if isinstance(now, tuple):
        return [_number(line) if now and isinstance(now[0], int | float) else line for line in lines]
    if isinstance(now, bool):
        return text == "true"
    return _number(text) if isinstance(now, int | float) else text.strip()


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _own_text(folder: Path) -> str:
    file = folder / OWN_RECIPE
    return file.read_text("utf-8") if file.is_file() else ""
