"""Every variant in a small chart of its own, beside the arm of which it changes one thing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from demo.proof.pen import FAINT, GREY, INK, Axis, Pen
from demo.proof.plot import IDENTITY_AXIS, LEAK_AXIS, Series, axes, grid, path, place

_WIDTH_PX: Final = 1000
_LEFT, _TOP = 50, 126
_COLUMNS: Final = 4
_CHART_PX: Final = (204, 150)
_GAP_PX: Final = (26, 58)


@dataclass(frozen=True)
class Beside:
    """An arm, and the last epoch of the one of which it changes one thing, over the same runs."""

    series: Series
    other: Series


def side_by_side(variants: Sequence[Beside], title: str) -> Image.Image:
    """A small chart for every variant, all with the same axes, 1000 px wide.

    Raises:
        ValueError: there is none.
    """
    if not variants:
        raise ValueError("charts side by side need a variant")
    (width, height), (gap, below) = _CHART_PX, _GAP_PX
    pen = Pen(_WIDTH_PX, _TOP + math.ceil(len(variants) / _COLUMNS) * (height + below))
    pen.text((_LEFT, 14), title, 20, INK, "la")
    pen.text((_LEFT, 44), f"up: {IDENTITY_AXIS}; right: {LEAK_AXIS}; best is top left", 15, FAINT, "la")
    pen.text(
        (_LEFT, 66),
        "grey: what was changed, in the same runs; bars: 95 % intervals; small: earlier epochs; *: missed the gates",
        15,
        FAINT,
        "la",
    )
    points = [point for each in variants for point in (*each.series.points, *each.other.points)]
    for number, each in enumerate(variants):
        row, column = divmod(number, _COLUMNS)
        left, top = _LEFT + column * (width + gap), _TOP + row * (height + below)
        _small(pen, each, *axes(points, (left, left + width), (top + height, top), parts=4))
    return pen.picture()


def _small(pen: Pen, each: Beside, across: Axis, up: Axis) -> None:
    left, right, top = across.from_px, across.to_px, up.to_px
    grid(pen, across, up, 12)
    pen.text((left, top - 6), each.series.name, 15, INK, "ld")
    # The other's name stands where there is room: at the end of the chart that is farther away.
    beside, _ = place(each.other.points[-1], across, up)
    x, side = (right - 4, "r") if beside < (left + right) / 2 else (across.px(0) + 6, "l")
    pen.text((x, up.px(0) - 5), f"beside {each.other.name}", 13, GREY, f"{side}d")
    for series in (each.other, each.series):
        path(pen, series, across, up)
        for number, point in enumerate(series.points, start=1):
            pen.disc(place(point, across, up), 5 if number == len(series.points) else 2.5, series.colour)
