"""What a set of pictures is, on paper: frozen records, written as canonical JSON."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lora_core.errors import DatasetError
from lora_core.recipe import Composition
from lora_core.refs import DatasetRef, Digest, TagsRef
from lora_core.store import Store

View = Literal["straight-on", "from_side", "from_behind", "from_above", "from_below"]
SIDES: tuple[View, ...] = ("straight-on", "from_side", "from_behind")
HEIGHTS: tuple[View, ...] = ("from_above", "from_below")


class Frozen(BaseModel):
    """A closed record that never changes; make a new one with `model_copy(update=…)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


FlagCode = Literal[
    "own_background", "enlarged", "soft", "near_duplicate", "other_alpha", "no_cut_out", "other_colours",
    "composition_in_doubt", "composition_contradicted",
]  # fmt: skip
_FLAG_TEXTS: Mapping[FlagCode, str] = {
    "own_background": "no transparency: its own background stays; export with a transparent one",
    "enlarged": "enlarged from {} to {} px: take larger screenshots",
    "soft": "soft: blur {}, above {}",
    "near_duplicate": "nearly the same as {}",
    "other_alpha": "transparency read as {}, as {} in {} others: look at its edges, or set preprocess.alpha",
    "no_cut_out": "its alpha is no cut-out ({}): export it again, or set preprocess.alpha = 'ignore'",
    "other_colours": "its colours are {}, and are read as sRGB: export it as an sRGB picture",
    "composition_in_doubt": "composition in doubt ({})",
    "composition_contradicted": "said to be {}, but the tagger sees {}",
}


class Flag(Frozen):
    """Something that a person should look at: code decides by `code`, people read `text`."""

    code: FlagCode
    values: tuple[str, ...] = Field(default=(), description="What the text has in its gaps.")

    @property
    def text(self) -> str:
        """In words."""
        return _FLAG_TEXTS[self.code].format(*self.values)


class Entry(Frozen):
    """One picture of a set."""

    name: str = Field(description="Unique within the set: the source's name without folder and extension.")
    source: str = Field(description="The source's path below the screenshot folder, for messages and reports.")
    image: Digest = Field(description="The picture's bytes in the store.")
    mask: Digest | None = Field(
        default=None, description="A grey picture in the store, as large: how opaque it was; None: it was opaque."
    )
    width: int = Field(gt=0, description="Pixels.")
    height: int = Field(gt=0, description="Pixels.")
    composition: Composition | None = None
    view: tuple[View, ...] | None = Field(
        default=None, description="At most one side and one height; None: nobody has looked."
    )
    caption: tuple[str, ...] | None = Field(
        default=None, description="Canonical tags in training order; None: trained with the set's class words."
    )
    outfit: str = Field(
        default="",
        description="The tag of what the character wears, where that has a word of its own.",
        exclude_if=lambda given: not given,
    )
    repeats: int = Field(
        default=0, description="How often an epoch shows it; 0: as its set.", exclude_if=lambda given: not given
    )
    notes: tuple[str, ...] = Field(default=(), description="What was noticed or decided on the way, for the report.")
    flags: tuple[Flag, ...] = Field(default=(), description="What a person should look at.")

    @property
    def flag_texts(self) -> tuple[str, ...]:
        """The flags in words."""
        return tuple(flag.text for flag in self.flags)


class Rejected(Frozen):
    """A file that is not in the set, and why."""

    source: str
    reason: str
    harmless: bool = Field(default=False, description="Nothing is lost without it: a system file, a text, a copy.")
    image: Digest | None = Field(default=None, description="Its bytes in the store, where there is a picture to show.")


class Manifest(Frozen):
    """A set of pictures in a fixed order, and what was left out with its reason."""

    entries: tuple[Entry, ...]
    rejected: tuple[Rejected, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [entry.name for entry in self.entries]
        if len(names) != len(set(names)):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two entries are named {twice!r}")
        return self


def named_sets(style: Manifest | None, character: Manifest) -> dict[str, Manifest]:
    """Both sets of a run by what messages and reports call them; without style there is but one."""
    return {"style": style, "character": character} if style else {"character": character}


class Scores(Frozen):
    """A tagger's probabilities for one picture, canonical tag → [0, 1], all above a low floor."""

    rating: Mapping[str, float]
    general: Mapping[str, float]
    character: Mapping[str, float]

    def of(self, tag: str) -> float | None:
        """The probability of a tag of either kind; None: below the floor."""
        return self.general.get(tag, self.character.get(tag))


class TagTable(Frozen):
    """Raw scores of a set, by picture digest, with the tagger that gave them."""

    model: Digest
    floor: float
    images: Mapping[str, Scores]

    def of(self, entry: Entry) -> Scores:
        """The scores of one picture.

        Raises:
            DatasetError: the table was made for another set.
        """
        if entry.image not in self.images:
            raise DatasetError(f"{entry.source}: no tagger scores for this picture; tag the folder again")
        return self.images[entry.image]


def save_manifest(store: Store, manifest: Manifest) -> DatasetRef:
    """Store a manifest and return its ref."""
    return DatasetRef(sha256=store.put_json(manifest.model_dump(mode="json")))


def load_manifest(store: Store, ref: DatasetRef) -> Manifest:
    """The manifest behind a ref."""
    return Manifest.model_validate(store.get_json(ref.sha256))


def save_tags(store: Store, table: TagTable) -> TagsRef:
    """Store raw scores and return their ref."""
    return TagsRef(sha256=store.put_json(table.model_dump(mode="json")))


def load_tags(store: Store, ref: TagsRef) -> TagTable:
    """The raw scores behind a ref."""
    return TagTable.model_validate(store.get_json(ref.sha256))
