"""What a person watches while a training runs: a row of figures a step, as a CSV and as TensorBoard's files.

They say how fast this machine was, so they are no part of a LoRA's own files, which are the same on every run.
"""

import contextlib
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from lora_core.store.files import disk_errors, write_atomically

CSV_FILE = "curves.csv"
AVERAGED_STEPS = 100
"""Steps that an average loss is the mean of."""
_FEWEST_POINTS = 3


@dataclass(frozen=True)
class Figures:
    """One step.

    Attributes:
        step: counted from 1, through all epochs and resumes.
        epoch: counted from 1.
        loss: of the step's pictures; depends much on the timesteps drawn.
        average_loss: over the last 100 steps.
        gradient_norm: L2, before clipping.
        weight_norm: L2 of all that is trained, before the step.
        unet_lr: learning rate of the step; 0 where the U-Net is not trained.
        text_encoder_lr: likewise.
        samples_per_second: pictures through the models, in this step.
    """

    step: int
    epoch: int
    loss: float
    average_loss: float
    gradient_norm: float
    weight_norm: float
    unet_lr: float
    text_encoder_lr: float
    samples_per_second: float


_COLUMNS = tuple(each.name for each in fields(Figures))


class Curves:
    """`curves.csv` and TensorBoard's event files in one folder; a resumed run goes on in them."""

    def __init__(self, folder: Path, steps: int) -> None:
        """Open the files behind a run's first `steps` steps; what a killed run wrote beyond them goes.

        Raises:
            StoreError: the disk is full or the folder cannot be written.
        """
        from lora_core.training.board import EventWriter  # a training that nobody watches does without tensorboardX

        self._folder = folder
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / CSV_FILE
            write_atomically(path, _lines([_COLUMNS, *_rows(path, steps)]))
            self._csv = path.open("ab", buffering=0)  # whoever watches sees every step
            # A name of its own: it holds seconds only, and a run may be resumed within one.
            suffix = f".{len(list(folder.glob('events.*')))}"
            self._events = EventWriter(folder, steps=steps, suffix=suffix)

    def add(self, figures: Figures) -> None:
        """A step is done."""
        values = asdict(figures)
        with disk_errors(self._folder):
            self._csv.write(_lines([[_shown(value) for value in values.values()]]))
            self._events.add({name: values[name] for name in _COLUMNS[2:]}, figures.step)

    def add_validation(self, step: int, loss: float) -> None:
        """The held-out pictures' loss behind a step."""
        with disk_errors(self._folder):
            self._events.add({"validation_loss": loss}, step)

    def close(self) -> None:
        """Nothing more will come."""
        with disk_errors(self._folder), contextlib.closing(self._events):
            self._csv.close()


def _rows(path: Path, steps: int) -> Iterable[list[str]]:
    """The first steps' rows of a file that may end anywhere."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for row in list(csv.reader(io.StringIO(text)))[1:]:
        if len(row) == len(_COLUMNS) and row[0].isdecimal() and int(row[0]) <= steps:
            yield row


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


class CurvePoint(NamedTuple):
    """One step of a curve."""

    step: int
    average_loss: float
    unet_lr: float


def read_curves(folder: Path, most: int) -> tuple[CurvePoint, ...]:
    """About `most` steps of a training's CSV, the last among them.

    The first are left out whose mean is of fewer steps than the others', or of a training that has not come so far its
    first quarter: a mean of a few steps says more about their timesteps than about the training.
    Empty: there is no such file, or too little in it. A row that is being written now is left out.
    """
    if not (folder / CSV_FILE).is_file():
        return ()
    with (folder / CSV_FILE).open(encoding="utf-8", errors="replace", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(_COLUMNS[-1])]
    rows = rows[min(AVERAGED_STEPS - 1, len(rows) // 4) :]
    every = max(1, len(rows) // most)
    points = tuple(
        CurvePoint(int(row["step"]), float(row["average_loss"]), float(row["unet_lr"]))
        for row in [*rows[:-1:every], *rows[-1:]]
    )
    return points if len(points) >= _FEWEST_POINTS else ()


WIDTH, HEIGHT = 600, 120
"""Of a drawn curve, in SVG's units."""


def polyline(steps: Sequence[int], values: Sequence[float]) -> str:
    """A curve as SVG's points, as wide and as high as there is room."""
    low, high = min(values), max(values)
    wide, tall = max(steps[-1] - steps[0], 1), (high - low) or 1.0
    return " ".join(
        f"{WIDTH * (step - steps[0]) / wide:.1f},{HEIGHT - 5 - (HEIGHT - 10) * (value - low) / tall:.1f}"
        for step, value in zip(steps, values, strict=True)
    )


def curves_svg(points: Sequence[CurvePoint]) -> str:
    """The mean loss, and dashed the learning rate, as an SVG file of its own, readable on light and dark."""
    steps, losses, rates = zip(*points, strict=True)
    label = f"loss {losses[-1]:.4f}, from {max(losses):.4f} to {min(losses):.4f}, steps {steps[0]:,} to {steps[-1]:,}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 20}" width="{WIDTH}">'
        f'<polyline points="{polyline(steps, rates)}" fill="none" stroke="#888" stroke-dasharray="4 4"/>'
        f'<polyline points="{polyline(steps, losses)}" fill="none" stroke="#3b82f6" stroke-width="2"/>'
        f'<text x="4" y="{HEIGHT + 14}" font-family="sans-serif" font-size="12" fill="#888">{label}; '
        f"learning rate {rates[-1]:.3g} (dashed)</text></svg>"
    )
