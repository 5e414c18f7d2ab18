"""Identity against leak: what the proof's charts of it share."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from demo.proof.pen import FAINT, GRID, Axis, Pen, Place, axis, mixed, tick
from lora_core.judging.bootstrap import Figure

LEAK_AXIS: Final = "leak: how much of the 3D look came along"
IDENTITY_AXIS: Final = "identity: how much of the character is there"


@dataclass(frozen=True)
class Point:
    """One epoch."""

    epoch: str
    leak: Figure
    identity: Figure


@dataclass(frozen=True)
class Series:
    """One arm, its epochs in order; the last one is the arm's figure and carries its name."""

    name: str
    colour: str
    points: tuple[Point, ...]


def axes(points: Sequence[Point], across: Place, up: Place, parts: int = 6) -> tuple[Axis, Axis]:
    """Axes that hold every interval; each between two places in px."""
    return (
        axis([value for p in points for value in (p.leak.low, p.leak.high)], *across, parts),
        axis([value for p in points for value in (p.identity.low, p.identity.high)], *up, parts),
    )


def grid(pen: Pen, across: Axis, up: Axis, size: int) -> None:
    """Lines and numbers at the ticks, zero darker."""
    for value in across.ticks():
        x = across.px(value)
        pen.line(((x, up.to_px), (x, up.from_px)), FAINT if abs(value) < 1e-9 else GRID)
        pen.text((x, up.from_px + size * 0.6), tick(value), size, FAINT, "ma")
    for value in up.ticks():
        y = up.px(value)
        pen.line(((across.from_px, y), (across.to_px, y)), FAINT if abs(value) < 1e-9 else GRID)
        pen.text((across.from_px - size * 0.6, y), tick(value), size, FAINT, "rm")


def path(pen: Pen, series: Series, across: Axis, up: Axis) -> None:
    """Intervals and the line through the epochs; faint but for the last epoch's."""
    places = [place(point, across, up) for point in series.points]
    for pair in itertools.pairwise(places):
        pen.line(pair, series.colour, 1.6)
    for number, (point, at) in enumerate(zip(series.points, places, strict=True), start=1):
        last = number == len(places)
        colour, width = (series.colour, 2.2) if last else (mixed(series.colour), 1.0)
        pen.cross(*intervals(point, across, up), at, colour, width)


def place(point: Point, across: Axis, up: Axis) -> Place:
    """Where an epoch lies."""
    return across.px(point.leak.mean), up.px(point.identity.mean)


def intervals(point: Point, across: Axis, up: Axis) -> tuple[Place, Place]:
    """From left to right and from top to bottom."""
    return (
        (across.px(point.leak.low), across.px(point.leak.high)),
        (up.px(point.identity.high), up.px(point.identity.low)),
    )
