"""Everything a report shows, as plain frozen records; whoever ran the method fills them."""

from typing import Literal

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.images.coverage import Coverage


class Interval(Frozen):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


class EpochRow(Frozen):
    """The figures of one epoch at one weight; None: not measured."""

    epoch: str
    weight: float = 1.0
    identity: Interval | None = None
    leak: Interval | None = None
    background: Interval | None = None
    habits: Interval | None = None
    obedience: Interval | None = None
    copying: Interval | None = None
    diversity: Interval | None = None
    second: Interval | None = None
    copying_cosine: Interval | None = None
    likeness: Interval | None = None
    nearest: str = Field(default="", description="The screenshot that a sample comes closest to, and how close.")
    closest: str = Field(default="", description="The same by the embedder.")
    within_bounds: bool = True
    chosen: bool = False
    reason: str = Field(default="", description="Why it was chosen or not.")


class Elsewhere(Frozen):
    """The chosen epoch on another base."""

    base: str
    row: EpochRow
    picture: bytes = Field(repr=False, description="A grid: without the LoRA and with it.")


class Drawn(Frozen):
    """One sample of the grid."""

    epoch: str = Field(description="'none' without the LoRA, else the epoch's number.")
    weight: float = Field(default=0, description="The LoRA's; 0 without one.")
    prompt: str
    seed: int
    picture: bytes = Field(repr=False, description="PNG, JPEG or WebP.")


class CaptionChange(Frozen):
    """One tag that was taken out or put in, and why."""

    tag: str
    what: Literal["removed", "added", "moved"]
    reason: str


class CaptionRow(Frozen):
    """One picture's caption before and after the edits."""

    name: str
    picture: bytes = Field(repr=False)
    before: tuple[str, ...]
    after: tuple[str, ...]
    changes: tuple[CaptionChange, ...]
    tokens: int = Field(default=0, description="CLIP's; 0: not counted.")


class LeftOut(Frozen):
    """A file that was not used."""

    source: str
    reason: str


class CheckRow(Frozen):
    """One check between two steps."""

    name: str
    passed: bool | None = Field(description="None: nothing was measured, a person looks at the picture.")
    line: str = Field(description="Figure and bound in words.")
    details: tuple[str, ...] = Field(default=(), description="What the figure is made of.")
    advice: str = Field(default="", description="Shown when it was not passed.")
    picture: bytes = Field(default=b"", repr=False, description="A grid of the samples it looked at; empty: none.")


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


class ReportData(Frozen):
    """One run, from the result down to the versions."""

    name: str
    trigger: str
    file: str = Field(description="Name of the LoRA file that ships.")
    epoch: str
    reason: str = Field(description="Why this epoch, as a sentence.")
    flagged: bool = Field(description="A person should look before using it.")
    weight: float = Field(default=1.0, description="The chosen strength.")
    max_leak: float
    preview: bytes = Field(repr=False)
    epochs: tuple[EpochRow, ...] = Field(description="Every epoch at every weight.")
    without: EpochRow | None = Field(default=None, description="The same samples without the LoRA.")
    elsewhere: tuple[Elsewhere, ...] = ()
    samples: tuple[Drawn, ...]
    styled: bool = Field(default=True, description="Whether a style LoRA was trained, to keep the look out.")
    subtracted: bool = Field(default=False, description="Whether that was subtracted, not merged into the base.")
    traits: tuple[str, ...] = Field(description="What identity is the mean of.")
    not_measured: tuple[str, ...] = Field(default=(), description="Tags that the tagger does not know.")
    checks: tuple[CheckRow, ...] = ()
    curves: tuple[LossCurve, ...] = ()
    sheets: tuple[DataSheet, ...] = ()
    coverage: Coverage | None = Field(default=None, description="Compositions and views of both sets, and the plan.")
    captions: tuple[CaptionRow, ...] = ()
    frequencies: tuple[tuple[str, int, int], ...] = Field(
        default=(), description="Tag, on how many pictures before the edits, on how many after."
    )
    left_out: tuple[LeftOut, ...] = ()
    recipe: str = Field(description="The whole recipe as text.")
    versions: tuple[tuple[str, str], ...] = ()
    timings: tuple[Timing, ...] = ()
