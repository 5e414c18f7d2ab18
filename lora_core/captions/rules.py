"""What is the character's, and what its captions are to say: the material of the caption edits."""

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lora_core.captions import taxonomy
from lora_core.captions.tags import canonical
from lora_core.dataset import HEIGHTS, SIDES, View
from lora_core.errors import CaptionError
from lora_core.recipe import COMPOSITIONS, LEAK_TAGS, Composition, Outfit

# As in the recipe: one word, without what web UIs read as weights or separators.
_TRIGGER = r"^[^\s,()\\:<>|\[\]]*$"


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
        return _canonical(tags)

    @field_validator("view")
    @classmethod
    def _one_of_each(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        for choices in (SIDES, HEIGHTS):
            if len(set(views) & set(choices)) > 1:
                raise ValueError(f"at most one of {', '.join(choices)}")
        return views

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _refuse_framing(self.add, "add", "framing = …")
        _refuse_view(self.add, "add", "view = […]")
        _refuse_framing(self.drop, "drop", "framing = … to say another one")
        _refuse_both(self.drop, "drop", self.add, "add")
        return self


class Rules(BaseModel):
    """The caption edits' material. Tags may be written with spaces or underscores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trigger: str = Field(
        default="", pattern=_TRIGGER, description="The word that calls the character. Empty: the recipe's."
    )
    memorize: tuple[str, ...] = Field(
        default=(),
        description="What the character is: tags (the whole family goes), families, or the groups body and "
        "accessories. Empty: body.",
    )
    prune: bool = Field(default=True, description="Whether what the character is, and its outfit, go at all.")
    outfit: tuple[str, ...] = Field(
        default=(), description="Clothes that belong to the character; just these go, * stands for anything."
    )
    keep: tuple[str, ...] = Field(default=(), description="Tags that stay although a rule would take them.")
    drop: tuple[str, ...] = Field(default=(), description="Tags that belong on no picture; * stands for anything.")
    replace: Mapping[str, str] = Field(default={}, description="One tag for another, before everything else.")
    add: tuple[str, ...] = Field(default=("realistic",), description="Tags on every picture.")
    face: tuple[str, ...] = Field(default=("nose", "lips"), description="Tags where a face shows.")
    images: Mapping[str, Override] = Field(default={}, description="By the picture's name.")
    outfits: tuple[Outfit, ...] = Field(
        default=(), description="Of which each has a sub-folder of its own.", exclude_if=lambda given: not given
    )

    @field_validator("memorize", "outfit", "keep", "drop", "add", "face")
    @classmethod
    def _canonical(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return _canonical(tags)

    @field_validator("outfits")
    @classmethod
    def _canonical_outfits(cls, outfits: tuple[Outfit, ...]) -> tuple[Outfit, ...]:
        return tuple(each.model_copy(update={"tags": _canonical(each.tags)}) for each in outfits)

    @field_validator("replace")
    @classmethod
    def _canonical_pairs(cls, pairs: Mapping[str, str]) -> Mapping[str, str]:
        for old, new in pairs.items():
            if not canonical(new):
                raise ValueError(f"{old!r} by nothing; put it under drop")
        return dict(zip(_canonical(pairs), (_one(new) for new in pairs.values()), strict=True))

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

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for tags, where in ((self.add, "add"), (self.face, "face"), (self.keep, "keep")):
            _refuse_framing(tags, where, "images.NAME.framing")
            _refuse_view(tags, where, "images.NAME.view")
        put = (*self.add, *self.face)
        for taken, where in ((self.memorize, "memorize"), (self.outfit, "outfit"), (self.drop, "drop")):
            _refuse_both(taken, where, self.keep, "keep")
            _refuse_both(taken, where, put, "add or face")
        chained = sorted(set(self.replace) & set(self.replace.values()))
        if chained:
            raise ValueError(f"replace both makes {chained[0]!r} and replaces it; name the last tag of the chain")
        every = (*put, *COMPOSITIONS, *SIDES, *HEIGHTS, *(tag for one in self.images.values() for tag in one.add))
        undone = next((tag for tag in every if tag in self.replace), None)
        if undone is not None:
            raise ValueError(f"replace takes away {undone!r}, which another rule puts on; name one of the two")
        return self

    def words(self) -> tuple[str, ...]:
        """Every tag that the rules put on or say of the character; not those that they take off."""
        own = (tag for one in self.images.values() for tag in one.add)
        worn = (word for one in self.outfits for word in (one.words, *one.tags))
        said = (*self.memorize, *self.outfit, *self.keep, *self.replace.values(), *worn)
        return self.trigger, *said, *self.add, *self.face, *own

    def outfit_of(self, source: str) -> Outfit | None:
        """What a picture shows the character in, by its path below the screenshot folder; None: nothing of its own."""
        return next((one for one in self.outfits if PurePosixPath(source).is_relative_to(one.folder)), None)

    def families(self) -> frozenset[str]:
        """The families that go, whole."""
        return _families(self.memorize or ("body",))

    def is_memorized(self, tag: str) -> bool:
        """Whether a tag is what the character is, or what it wears as its own."""
        return (
            tag in self.memorize
            or (taxonomy.family_of(tag) in self.families())
            or any(matches(tag, pattern) for pattern in self.outfit)
        ) and tag not in self.keep

    def drops(self, tag: str) -> bool:
        """Whether `drop` names a tag."""
        return any(matches(tag, pattern) for pattern in self.drop)


@functools.lru_cache(maxsize=64)
def _families(memorized: tuple[str, ...]) -> frozenset[str]:
    groups = taxonomy.groups()
    found: set[str] = set()
    for name in memorized:
        family = name if name in taxonomy.families() else taxonomy.family_of(name)
        found.update(groups.get(name, (family,) if family else ()))
        found.update(taxonomy.implied_by(name))
    return frozenset(found)


def matches(tag: str, pattern: str) -> bool:
    """`*` stands for anything; `?` and brackets are letters, for there are tags such as `!?`."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), tag) is not None


def _one(text: str) -> str:
    tag = canonical(text)
    if not tag:
        raise ValueError("an empty tag; remove it")
    if "," in tag:
        raise ValueError(f"{text!r} is more than one tag; write each in quotes of its own")
    return tag


def _canonical(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_one(tag) for tag in tags))


def _refuse_framing(tags: Iterable[str], where: str, instead: str) -> None:
    framing = next((tag for tag in tags if taxonomy.is_framing(tag)), None)
    if framing is not None:
        raise ValueError(f"{where}: {framing!r} is a framing, and each picture has exactly one; set {instead}")


def _refuse_view(tags: Iterable[str], where: str, instead: str) -> None:
    view = next((tag for tag in tags if tag in (*SIDES, *HEIGHTS)), None)
    if view is not None:
        raise ValueError(f"{where}: {view!r} is a view; set {instead}")


def _refuse_both(taken: Iterable[str], where: str, put: Iterable[str], elsewhere: str) -> None:
    both = next((tag for tag in put if tag in tuple(taken)), None)
    if both is not None:
        raise ValueError(f"{both!r} is under {where} and under {elsewhere}; take it out of one of the two")


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


def style_rules() -> Rules:
    """All that is seen but the 3D look.

    What a word explains a LoRA need not learn (that is why the character's own captions leave out what it is): with
    hair, eyes and clothes said, the look is all that the style LoRA has left.
    """
    return Rules(prune=False, drop=LEAK_TAGS, add=(), face=())


def redrawn_rules(rules: Rules) -> Rules:
    """The caption rules without what soaks up the look, of which redrawn pictures have none, without what is said of
    single screenshots and of their folders."""
    return rules.model_copy(update={"add": (), "face": (), "images": {}, "outfits": ()})
