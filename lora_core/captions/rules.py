"""What is the character's, and what its captions are to say: `captions.toml`, or the recipe alone."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lora_core.captions import taxonomy
from lora_core.captions.tags import canonical
from lora_core.dataset import View
from lora_core.errors import CaptionError
from lora_core.recipe import COMPOSITIONS, Captions, Composition
from lora_core.recipe_file import explain

# As in the recipe: one word, without what web UIs read as weights or separators.
_TRIGGER = r"^[^\s,()\\:<>|\[\]]*$"

SIDES: tuple[View, ...] = ("straight-on", "from_side", "from_behind")
HEIGHTS: tuple[View, ...] = ("from_above", "from_below")


class Override(BaseModel):
    """What one picture is told apart from the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop: tuple[str, ...] = Field(default=(), description="Tags to take off this picture.")
    add: tuple[str, ...] = Field(default=(), description="Tags to put on this picture.")
    framing: Composition | None = Field(default=None, description="Its composition, whatever else says otherwise.")
    view: tuple[View, ...] = Field(default=(), description="From where it is seen; replaces the tagger's views.")
    face: bool | None = Field(default=None, description="Whether its face shows; left out: by composition and view.")

    @field_validator("drop", "add")
    @classmethod
    def _canonical(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(canonical(tag) for tag in tags)

    @field_validator("view")
    @classmethod
    def _one_of_each(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        for choices in (SIDES, HEIGHTS):
            if len(set(views) & set(choices)) > 1:
                raise ValueError(f"at most one of {', '.join(choices)}")
        return views


class Rules(BaseModel):
    """The six edits' material. Tags may be written with spaces or underscores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trigger: str = Field(
        default="", pattern=_TRIGGER, description="The word that calls the character. Empty: the recipe's."
    )
    memorize: tuple[str, ...] = Field(
        default=(),
        description="What the character is: tags (the whole family goes), families, or the groups body and "
        "accessories. Empty: body.",
    )
    outfit: tuple[str, ...] = Field(default=(), description="Clothes that belong to the character.")
    keep: tuple[str, ...] = Field(default=(), description="Tags that stay although a rule would take them.")
    drop: tuple[str, ...] = Field(default=(), description="Tags that belong on no picture; * stands for anything.")
    replace: Mapping[str, str] = Field(default={}, description="One tag for another, before everything else.")
    add: tuple[str, ...] = Field(default=("realistic",), description="Tags on every picture.")
    face: tuple[str, ...] = Field(default=("nose", "lips"), description="Tags where a face shows.")
    images: Mapping[str, Override] = Field(default={}, description="By the picture's name.")

    @field_validator("memorize", "outfit", "keep", "drop", "add", "face")
    @classmethod
    def _canonical(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(canonical(tag) for tag in tags))

    @field_validator("replace")
    @classmethod
    def _canonical_pairs(cls, pairs: Mapping[str, str]) -> Mapping[str, str]:
        return {canonical(old): canonical(new) for old, new in pairs.items()}

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        chained = sorted(set(self.replace) & set(self.replace.values()))
        if chained:
            raise ValueError(f"replace both makes {chained[0]!r} and replaces it; name the last tag of the chain")
        added = (*self.add, *self.face, *(tag for one in self.images.values() for tag in one.add))
        framing = next((tag for tag in added if taxonomy.is_framing(tag)), None)
        if framing is not None:
            raise ValueError(f"{framing!r} is a framing, and each picture has exactly one; set images.NAME.framing")
        view = next((tag for tag in added if tag in (*SIDES, *HEIGHTS)), None)
        if view is not None:
            raise ValueError(f"{view!r} is a view; set images.NAME.view")
        undone = next((tag for tag in (*added, *COMPOSITIONS, *SIDES, *HEIGHTS) if tag in self.replace), None)
        if undone is not None:
            raise ValueError(f"replace takes away {undone!r}, which another rule puts on; name one of the two")
        return self

    @field_validator("memorize")
    @classmethod
    def _no_misspelt_family(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """A family that does not exist would silently take nothing."""
        known = (*taxonomy.families(), *taxonomy.groups())
        for name in names:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if near and name not in known and taxonomy.family_of(name) is None:
                raise ValueError(f"{name!r} is no family; did you mean {near[0]!r}?")
        return names

    def families(self) -> frozenset[str]:
        """The families that go, whole."""
        groups = taxonomy.groups()
        found: set[str] = set()
        for name in self.memorize or ("body",):
            family = name if name in taxonomy.families() else taxonomy.family_of(name)
            found.update(groups.get(name, (family,) if family else ()))
        return frozenset(found)


def rules_for(options: Captions) -> Rules:
    """The rules of a recipe: its own, under those of its rule file if it names one.

    Raises:
        CaptionError: see `read_rules`.
    """
    base = options.model_dump(include=set(Rules.model_fields))
    if options.rules:
        return _parsed({**base, **_table(Path(options.rules))}, options.rules)
    return _parsed(base, "captions")


def read_rules(path: Path) -> Rules:
    """Read a captions.toml.

    Raises:
        CaptionError: not TOML, an unknown key (the nearest known one is named), or rules that contradict each other.
    """
    return _parsed(_table(path), str(path))


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise CaptionError(f"{path}: there is no such rule file; name one, or leave captions.rules empty") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaptionError(f"{path}: not a readable TOML file: {error}") from error


def _parsed(data: dict[str, Any], where: str) -> Rules:
    images = data.get("images")
    for name, override in images.items() if isinstance(images, dict) else ():
        try:
            Override.model_validate(override)
        except ValidationError as error:
            raise CaptionError(f"{where}, images.{name}: {explain(error, Override)}") from None
    try:
        return Rules.model_validate(data)
    except ValidationError as error:
        raise CaptionError(f"{where}: {explain(error, Rules)}") from None


def check_names(rules: Rules, names: tuple[str, ...]) -> None:
    """Refuse overrides for pictures that are not in the set: they would silently do nothing.

    Raises:
        CaptionError: naming the override and the nearest picture.
    """
    for name in rules.images:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "use the file's name without its ending"
            raise CaptionError(f"images.{name}: there is no such picture in the set; {hint}")
