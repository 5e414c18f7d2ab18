"""The two sets of screenshots, what becomes of them, and what their captions say."""

import re
from typing import Annotated, Literal, Self, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from lora_core.recipe.options import TRIGGER, OnDisk, Options

LEAK_TAGS = ("realistic", "3d", "nose", "lips")
"""What taggers call the look of 3D creators."""


class Captions(Options):
    """The caption edits (see the rule file for what is the character's)."""

    rules: Annotated[str, OnDisk()] = Field(default="", title="Rule file")
    """A captions.toml beside the recipe. Empty: the rules below, with every family of the taxonomy that describes a
    body removed."""
    memorize: tuple[str, ...] = Field(default=(), title="Memorize")
    """Tags the character *is*, such as blonde_hair or cat_ears. The whole family goes (every hair colour), so that it
    binds to the trigger. Empty: all families of the body that the taxonomy knows."""
    prune: bool = Field(default=True, title="Prune")
    """Take out what the character is: 'memorize' and 'outfit'. false: these tags stay in the captions and the trigger
    learns little, to compare."""
    outfit: tuple[str, ...] = Field(default=(), title="Outfit")
    """Clothes that belong to the character, removed like its traits."""
    drop: tuple[str, ...] = Field(default=(), title="Drop")
    """Tags that do not belong on any picture."""
    add: tuple[str, ...] = Field(default=("realistic",), title="Add")
    """Tags put on every picture to soak up the 3D look. The method's: realistic."""
    face: tuple[str, ...] = Field(default=("nose", "lips"), title="Add where a face shows")
    """Tags for pictures with a visible face. The method's: nose, lips."""


Composition = Literal["close-up", "portrait", "upper_body", "cowboy_shot"]


COMPOSITIONS: tuple[Composition, ...] = get_args(Composition)


class Set(Options):
    """A folder of screenshots."""

    images: Annotated[str, OnDisk()] = Field(min_length=1, title="Screenshots")
    """A folder; sub-folders are read too. It is never written to."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its screenshots are; none: it has none."""
        return (self.images,) if self.images else ()


_FOLDER_WORDS = re.compile(r"(?:(?P<repeats>[1-9]\d{0,2}|1000)_)?(?P<words>[^\s,:=()\\<>|\[\]][^,:=()\\<>|\[\]]*)")
"""sd-scripts' name of a training folder, its repeats optional: `10_momo dress`."""
_ELSEWHERE = re.compile(r"^/|[:\\\\]|(^|/)\.\.?(/|$)")
"""What names a folder that is not among the screenshots."""
_CLASS_WORDS = ("1girl", "1boy", "1other", "girl", "boy", "woman", "man", "solo")


class Outfit(BaseModel):
    """One outfit of a character."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = Field(description="The sub-folder of the screenshots that show it.")
    words: str = Field(
        default="", description="What calls it in a prompt, besides the trigger. Empty: the character as it always is."
    )
    repeats: int = Field(default=0, ge=0, le=1000, description="How often an epoch shows each. 0: as the training.")
    tags: tuple[str, ...] = Field(
        default=(), description="What it is: these leave its captions. Empty: clothes on most of its pictures."
    )

    @classmethod
    def of_words(cls, folder: str, text: str, tags: tuple[str, ...] = ()) -> Self | None:
        """An outfit called as sd-scripts calls a training folder: repeats, then words; None: that is no such name.

        A class word at the end says what is drawn, not what is worn: of `10_momo dress 1girl` "momo dress" is left.
        """
        if (match := _FOLDER_WORDS.fullmatch(text.strip())) is None:
            return None
        words = match["words"].replace("_", " ").split()
        while len(words) > 1 and words[-1].lower() in _CLASS_WORDS:
            words.pop()
        return cls(folder=folder, words=" ".join(words).lower(), repeats=int(match["repeats"] or 0), tags=tags)


class Character(Set):
    """The screenshots of your character, and its outfits."""

    outfits: tuple[str, ...] = Field(default=(), title="Outfits", exclude_if=lambda given: not given)
    """Sub-folders with an outfit each, as "FOLDER = WORDS" or "FOLDER = REPEATS_WORDS: TAGS", such as "dress = 20_momo
    dress: white dress, sun hat". The words call the outfit in a prompt, behind the trigger, and learn the tags, which
    leave its captions; without tags, the clothes on most of its pictures. Sub-folders named as sd-scripts names them,
    such as "20_momo dress", need no line if their words begin with the character's name or trigger."""

    @model_validator(mode="after")
    def _outfits_can_be_read(self) -> Self:
        _ = self.wardrobe
        return self

    @property
    def wardrobe(self) -> tuple[Outfit, ...]:
        """The outfits that are said.

        Raises:
            ValueError: a line is not FOLDER = WORDS, or two are about one folder.
        """
        found: dict[str, Outfit] = {}
        for line in self.outfits:
            folder, _, said = (part.strip() for part in line.partition("="))
            words, _, tags = said.partition(":")
            worn = tuple(tag.strip() for tag in tags.split(",") if tag.strip())
            within = folder and not _ELSEWHERE.search(folder)  # it comes from whoever wrote a character's recipe
            outfit = Outfit.of_words(folder.strip("/"), words, worn) if within else None
            if outfit is None:
                raise ValueError(
                    f'outfits: {line!r} is no outfit; write FOLDER = WORDS, such as "dress = momo dress", or with '
                    'repeats and tags "dress = 20_momo dress: white dress, sun hat"'
                )
            if outfit.folder in found:
                raise ValueError(f"outfits: two are in the folder {outfit.folder!r}; give each outfit one of its own")
            found[outfit.folder] = outfit
        return tuple(found.values())


class Style(Set):
    """Stage 1's screenshots: a character very different from yours, the same compositions and angles."""

    images: Annotated[str, OnDisk()] = Field(default="", title="Screenshots")
    """A folder; sub-folders are read too. It is never written to. Only a recipe that needs no look (method
    'captions-only' or 'naive') can leave it empty."""
    more: Annotated[tuple[str, ...], OnDisk()] = Field(
        default=(), title="Further screenshots", exclude_if=lambda given: not given
    )
    """Folders of further characters from the same 3D creator: of many, the look alone is what they share. In a recipe
    also `style = ["yuki", "kuma"]`."""
    identifier: str = Field(default="hcstyle", pattern=TRIGGER, title="Identifier")
    """The rare word that stands for the style character (DreamBooth's identifier)."""
    class_word: str = Field(default="1girl", min_length=1, title="Class")
    """What the style character is, in the base model's words (DreamBooth's class): 1girl, 1boy, …"""
    captions: Literal["none", "tags"] = Field(default="none", title="Captions")
    """What stage 1 is told beside the picture. none: identifier and class alone, as in the method, so that look and
    style character are learned as one. tags: the tagger's words for all that is seen (hair, eyes, clothes, framing) but
    the 3D look, so that less of the character is learned with it."""
    named: bool = Field(default=False, title="Name the look")
    """Put the identifier on every picture of the character too, as the word for the look: with `captions = "tags"` it
    stands for what both sets share, so less of that is learned as the character. A rule file with an `add` of its own
    has to name it there."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its screenshots are; none: it has none."""
        return (*super().folders, *self.more)

    @model_validator(mode="after")
    def _word_is_a_tag(self) -> Self:
        if self.named and self.identifier != self.identifier.lower():
            raise ValueError(f"identifier {self.identifier!r} is a caption tag where the look is named; write it small")
        if self.named and "_" in self.identifier:
            raise ValueError(
                f"identifier {self.identifier!r} is a caption tag where the look is named, and captions have spaces "
                "for underscores; write one word"
            )
        return self


class Preprocess(Options):
    """From screenshots as a 3D creator writes them to square (or portrait) pictures on white."""

    size: int = Field(default=1024, ge=64, le=4096, title="Size (px)")
    """Side of the square pictures. The method's is 1024."""
    shape: Literal["square", "portrait"] = Field(
        default="square", title="Shape", exclude_if=lambda shape: shape == "square"
    )
    """square: the method's. portrait: a subject that is taller than wide is cut narrower, to a shape of sd-scripts'
    buckets (3:5, 7:9, 5:12) of the square's area, so that less of what is trained is background. Wide ones stay
    square."""
    alpha: Literal["detect", "straight", "premultiplied", "ignore"] = Field(default="detect", title="Transparency")
    """How the screenshots store half-transparent pixels. 'detect' looks at every file: Honey Select 2 writes
    premultiplied, Blender straight. The wrong one gives hair a dark halo. 'ignore': take the colours as if there were
    no alpha, for files whose alpha is no cut-out."""
    background: str = Field(default="#ffffff", pattern=r"^#[0-9a-fA-F]{6}$", title="Background")
    """Colour behind transparent pixels and of the padding. The method's is white."""
    bad_pictures: Literal["stop", "leave_out"] = Field(default="stop", title="Pictures that cannot be used")
    """'stop': end the run and name them, before anything is trained. 'leave_out': go on without them; the report gives
    the reason for each."""
    min_source_px: int = Field(default=256, ge=16, le=4096, title="Smallest source (px)")
    """Pictures whose longer side is shorter than this are left out: enlarging them teaches blur."""
    near_duplicates: Literal["flag", "leave_out"] = Field(default="flag", title="Near duplicates")
    """'flag': name the pair and keep both. 'leave_out': keep the first of each group only."""
    duplicate_bits: int = Field(default=16, ge=0, le=128, title="Near duplicates differ by (bits)")
    """Two pictures whose perceptual hashes differ by at most this many of 256 bits are near duplicates. One pose turned
    by 2° differs by 12 to 30 bits, two poses by about 110."""
    soft_pictures: Literal["flag", "leave_out"] = Field(default="flag", title="Soft pictures")
    """'flag': name them with the figure and keep them. 'leave_out': go on without them."""
    soft_above: float = Field(default=0.65, gt=0, le=1, title="Soft above")
    """Blur (Crété et al. 2007) from 0, sharp, to 1, blurred: how little a picture loses when it is blurred once more.
    Renders have 0.3 to 0.45, out of focus by 2 px 0.75."""


class ShotPlan(Options):
    """How many pictures of each composition a set should have. One that is planned and has none stops a run."""

    close_up: int = Field(
        default=1, ge=0, le=1000, validation_alias=AliasChoices("close-up", "close_up"), title="Close-up"
    )
    """Face only. The method's is 1."""
    portrait: int = Field(default=11, ge=0, le=1000, title="Portrait")
    """Down to the shoulders. The method's is 11."""
    upper_body: int = Field(default=18, ge=0, le=1000, title="Upper body")
    """Down to the bust. The method's is 18."""
    cowboy_shot: int = Field(default=8, ge=0, le=1000, title="Cowboy shot")
    """Down to the thighs. The method's is 8."""

    def count(self, composition: Composition) -> int:
        """Pictures planned of one composition; 0: none."""
        return int(getattr(self, composition.replace("-", "_")))


class Downscale(Options):
    """The small copies beside the originals, trained at their own size."""

    size: int = Field(default=384, ge=0, le=2048, multiple_of=8, title="Size of the copies (px)")
    """384 in the method, beside 512 for the originals. They are trained at this size, never enlarged. 0: no copies."""
    repeats: int = Field(default=2, ge=1, le=1000, title="Repeats")
    """How often an epoch shows each copy."""
