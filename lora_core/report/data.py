"""Everything a report shows, as plain frozen records; whoever ran the method fills them."""

from pydantic import BaseModel, ConfigDict, Field

from lora_core.captions.caption import Reason
from lora_core.captions.check import MOST_TOKENS
from lora_core.dataset import Frozen
from lora_core.images.coverage import Coverage
from lora_core.judging.measure import EpochMetrics
from lora_core.judging.verdict import Verdict
from lora_core.refs import CaptionsRef, CheckpointRef, DatasetRef, LoraRef, ReportRef


class RedrawInputs(BaseModel):
    """One round of redrawing: the LoRA that drew, its verdict, and the selection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lora: LoraRef
    verdict: ReportRef
    selected: ReportRef


class ReportInputs(BaseModel):
    """What a run made, step by step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: CheckpointRef
    style_squares: DatasetRef | None
    squares: DatasetRef
    captions: CaptionsRef
    style_lora: LoraRef | None = None
    style_check: ReportRef | None = None
    merge_check: ReportRef | None = None
    lora: LoraRef
    samples: ReportRef
    caption_check: ReportRef | None = None
    successor_check: ReportRef | None = None
    verdict: ReportRef
    transfer: tuple[tuple[str, ReportRef], ...] = ()
    redrawn: tuple[RedrawInputs, ...] = ()
    redrawn_verdict: ReportRef | None = None
    start: LoraRef | None = Field(default=None, exclude_if=lambda start: start is None)


class Elsewhere(Frozen):
    """The chosen epoch on another base."""

    base: str
    metrics: EpochMetrics
    picture: bytes = Field(repr=False, description="A grid: without the LoRA and with it.")


class Drawn(Frozen):
    """One sample of the grid."""

    epoch: str = Field(description="'none' without the LoRA, else the epoch's number.")
    weight: float = Field(default=0, description="The LoRA's; 0 without one.")
    prompt: str
    seed: int
    picture: bytes = Field(repr=False, description="PNG, JPEG or WebP.")


class CaptionRow(Frozen):
    """One picture's caption before and after the edits."""

    name: str
    picture: bytes = Field(repr=False)
    before: tuple[str, ...]
    after: tuple[str, ...]
    changes: tuple[Reason, ...]
    tokens: int = Field(default=0, description="CLIP's; 0: not counted.")


class LeftOut(Frozen):
    """A file that was not used."""

    source: str
    reason: str


class CheckRow(Frozen):
    """One check between two steps."""

    name: str
    passed: bool | None = Field(description="None: nothing was measured, the picture is for a person.")
    line: str = Field(description="Value and bound in words.")
    details: tuple[str, ...] = Field(default=(), description="What the value is made of.")
    advice: str = Field(default="", description="Shown when it was not passed.")
    picture: bytes = Field(default=b"", repr=False, description="A grid of what it was measured on; empty: none.")


class LossCurve(Frozen):
    """A training's loss at some of its steps, each the mean over the steps before it."""

    label: str
    points: tuple[tuple[int, float], ...] = Field(description="Step, counted from 1, and loss.")
    validation: tuple[tuple[float, float], ...] = Field(
        default=(), description="Step and loss on the pictures that are not trained; empty: none were held out."
    )
    epochs: int = Field(default=0, ge=0, description="Marks on the axis; 0: none.")


class DataSheet(Frozen):
    """A contact sheet of a set of pictures."""

    title: str
    text: str
    picture: bytes = Field(repr=False)


class Timing(Frozen):
    """How long a step took."""

    step: str
    seconds: float = Field(description="When it was done; not measured: negative.")
    cached: bool = Field(description="It was done before this run.")


class WornOutfit(Frozen):
    """One outfit, and what it was learned from."""

    words: str
    tags: tuple[str, ...]
    pictures: int


class ReportData(Frozen):
    """One run, from the result down to the versions."""

    name: str
    trigger: str
    outfits: tuple[WornOutfit, ...] = ()
    file: str = Field(description="Name of the LoRA file that ships.")
    verdict: Verdict
    preview: bytes = Field(repr=False)
    elsewhere: tuple[Elsewhere, ...] = ()
    samples: tuple[Drawn, ...]
    template: str = Field(default="{prompt}", description="What stood around every prompt when it was drawn.")
    styled: bool = Field(default=True, description="Whether a style LoRA was trained, to keep the look out.")
    look_word: str = Field(default="", description="The word whose vectors learned the look; empty: none did.")
    subtracted: bool = Field(default=False, description="Whether that was subtracted, not merged into the base.")
    warnings: tuple[str, ...] = Field(default=(), description="What a reader should know before all else.")
    checks: tuple[CheckRow, ...] = ()
    curves: tuple[LossCurve, ...] = ()
    sheets: tuple[DataSheet, ...] = ()
    coverage: Coverage | None = Field(default=None, description="Compositions and views of both sets, and the plan.")
    captions: tuple[CaptionRow, ...] = ()
    most_tokens: int = Field(default=MOST_TOKENS, description="Of a caption that are trained.")
    frequencies: tuple[tuple[str, int, int], ...] = Field(
        default=(), description="Tag, on how many pictures before the edits, on how many after."
    )
    left_out: tuple[LeftOut, ...] = ()
    recipe: str = Field(description="The whole recipe as text.")
    versions: tuple[tuple[str, str], ...] = ()
    timings: tuple[Timing, ...] = ()
