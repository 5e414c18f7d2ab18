"""`captions.toml`: read, and written to without losing a comment."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel, ValidationError
from tomlkit.items import Table

from lora_core.bounded import TEXT_BYTES, decoded, read_bounded, read_toml
from lora_core.captions.rules import Override, Rules
from lora_core.errors import CaptionError
from lora_core.recipe import Captions, Outfit
from lora_core.recipe_file import explain
from lora_core.store.files import write_atomically


def rules_for(options: Captions, trigger: str, outfits: tuple[Outfit, ...] = ()) -> Rules:
    """The rules of a recipe: its own, under those of its rule file if it names one; its outfits beside them.

    Raises:
        CaptionError: see `read_rules`; or the rule file has another trigger than the recipe.
    """
    base = {**options.model_dump(include=set(Rules.model_fields)), "outfits": outfits}
    if not options.rules:
        return _parsed(base, "captions")
    rules = _parsed({**base, **_table(Path(options.rules))}, options.rules)
    if rules.trigger not in ("", trigger):
        raise CaptionError(
            f"{options.rules}: trigger {rules.trigger!r} is not the recipe's, {trigger!r}; leave one out"
        )
    return rules


def read_rules(path: Path) -> Rules:
    """Read a captions.toml.

    Raises:
        CaptionError: not TOML, an unknown key (the nearest known one is named), or rules that contradict each other.
    """
    return _parsed(_table(path), str(path))


def write_overrides(path: Path, overrides: Mapping[str, Override | None]) -> None:
    """Set or take away [images.NAME] tables in a rule file; every other line and comment stays as it is.

    Args:
        path: of a captions.toml.
        overrides: by picture; None takes the picture's table away.

    Raises:
        CaptionError: the file cannot be read, or would no longer be a rule file; it is left as it was then.
    """
    _table(path)  # tomlkit has no bounds of its own
    text = _text(path)
    document = tomlkit.parse(text)
    images = document.setdefault("images", tomlkit.table(is_super_table=True))
    for name, override in overrides.items():
        images.pop(name, None)
        if override is not None:
            images[name] = _override_table(override)
    if not images:
        del document["images"]
    written = tomlkit.dumps(document)
    _parsed(tomllib.loads(written), str(path))
    write_atomically(path, written.encode())


def _override_table(override: Override) -> Table:
    table = tomlkit.table()
    for key, value in override.model_dump(exclude_defaults=True).items():
        table[key] = list(value) if isinstance(value, tuple) else value
    return table


def _text(path: Path) -> str:
    try:
        return decoded(read_bounded(path, TEXT_BYTES, CaptionError))
    except (OSError, UnicodeError) as error:
        raise CaptionError(f"{path}: not a readable TOML file: {error}") from error


def _table(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path, CaptionError)
    except FileNotFoundError:
        raise CaptionError(
            f"{path}: there is no such rule file; `headcanon caption … --suggest` writes one to start from"
        ) from None


def _parsed(data: dict[str, Any], where: str) -> Rules:
    images = data.get("images")
    for name, override in images.items() if isinstance(images, dict) else ():
        try:
            Override.model_validate(override)
        except ValidationError as error:
            raise CaptionError(f"{where}, images.{name}: {_complaint(error, Override)}") from None
    try:
        return Rules.model_validate(data)
    except ValidationError as error:
        raise CaptionError(f"{where}: {_complaint(error, Rules)}") from None


def _complaint(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return f"{where}: {first['ctx']['error']}" if where else str(first["ctx"]["error"])
    return explain(error, model)
