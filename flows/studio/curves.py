"""A training's curves and samples, as the page draws them."""

import re
from dataclasses import dataclass
from pathlib import Path

from lora_core.training.curves import polyline, read_curves

_MOST_POINTS = 300


@dataclass(frozen=True)
class Drawing:
    """A training's curves as points of an SVG, and what its axes say."""

    name: str
    loss: str
    rate: str
    steps: int
    lowest: float
    highest: float
    learning_rate: float
    samples: tuple[tuple[str, tuple[str, ...]], ...]


def drawing(curves: Path, name: str) -> Drawing | None:
    """The curves of a training in the store's folder of them, as far as it is; None: nothing is there yet.

    Args:
        curves: the store's folder of curves.
        name: of the training's own.
    """
    folder = curves / name
    if not re.fullmatch(r"[^/\\]+", name) or name.startswith(".") or not (points := read_curves(folder, _MOST_POINTS)):
        return None
    steps, losses, rates = zip(*points, strict=True)
    samples: dict[str, list[str]] = {}
    for path in sorted((folder / "samples").glob("*.png")):
        name_of, _, number = path.stem.rpartition("-")[0].partition("-")
        samples.setdefault(f"{name_of} {int(number)}" if number else name_of, []).append(path.name)
    return Drawing(
        name.rpartition("-")[0], polyline(steps, losses), polyline(steps, rates), steps[-1], min(losses), max(losses),
        rates[-1], tuple((epoch, tuple(names)) for epoch, names in samples.items()),
    )  # fmt: skip
