"""Identity against leak in one chart: every arm and epoch, intervals as bars, names beside the points."""

import math
from collections.abc import Sequence
from typing import Final

from PIL import Image

from demo.proof.pen import FAINT, INK, Axis, Box, Pen, text_width
from demo.proof.plot import IDENTITY_AXIS, LEAK_AXIS, Series, axes, grid, intervals, path, place

WIDTH_PX: Final = 1000
_HEIGHT_PX: Final = 680
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 34, 84, 72


def identity_against_leak(series: Sequence[Series], title: str) -> Image.Image:
    """The chart, 1000 px wide. Right is more of the 3D look, up is more of the character: best is top left.

    Raises:
        ValueError: there is no point.
    """
    points = [point for each in series for point in each.points]
    if not points:
        raise ValueError("a chart needs a point")
    chart = _Chart(*axes(points, (_LEFT, WIDTH_PX - _RIGHT), (_HEIGHT_PX - _BOTTOM, _TOP)))
    chart.frame(title)
    for each in series:
        path(chart.pen, each, chart.across, chart.up)
        chart.keep_clear(each)
    for number, each in enumerate(series):
        chart.epochs(each, max(5.0, 11.0 - 2 * number))
    for each in series:
        chart.name(each)
    return chart.pen.picture()


class _Chart:
    """The one large chart."""

    def __init__(self, across: Axis, up: Axis) -> None:
        self.pen = Pen(WIDTH_PX, _HEIGHT_PX)
        self.across, self.up = across, up
        self._taken: list[Box] = []

    def frame(self, title: str) -> None:
        right = WIDTH_PX - _RIGHT
        grid(self.pen, self.across, self.up, 15)
        self.pen.text((_LEFT, 14), title, 20, INK, "la")
        self.pen.text(((_LEFT + right) / 2, _HEIGHT_PX - 12), LEAK_AXIS, 17, INK, "md")
        self.pen.text((_LEFT, _TOP - 12), IDENTITY_AXIS, 17, INK, "ld")
        notes = "best is top left; bars: 95 % intervals; numbers: epochs; *: style stage missed the gates"
        self.pen.text((right, _TOP - 12), notes, 14, FAINT, "rd")

    def keep_clear(self, series: Series) -> None:
        """No name across the last epoch's intervals."""
        x, y = place(series.points[-1], self.across, self.up)
        (left, right), (top, bottom) = intervals(series.points[-1], self.across, self.up)
        self._taken += [(left, y - 1, right, y + 1), (x - 1, top, x + 1, bottom)]

    def epochs(self, series: Series, last_radius: float) -> None:
        """The points; each arm has a smaller last one than that before it, so that none hides another."""
        for number, point in enumerate(series.points, start=1):
            x, y = place(point, self.across, self.up)
            radius = last_radius if number == len(series.points) else 3.5
            self.pen.disc((x, y), radius, series.colour)
            self._taken.append((x - radius, y - radius, x + radius, y + radius))
            if len(series.points) > 1:
                self._label(x, y, radius, point.epoch, 13, FAINT)

    def name(self, series: Series) -> None:
        x, y = place(series.points[-1], self.across, self.up)
        self._label(x, y, 9, series.name, 18, series.colour)

    def _label(self, x: float, y: float, radius: float, text: str, size: int, colour: str) -> None:
        """Beside a point, at the first place of ever wider circles where nothing else stands."""
        width, height = text_width(text, size), size * 0.8
        boxes = [self._beside(x, y, radius + away, turn, width, height) for away in (4, 14, 26, 42) for turn in _TURNS]
        inside = [box for box in boxes if _within(box)]
        box = next((box for box in inside if not any(_overlap(box, other) for other in self._taken)), boxes[0])
        self._taken.append(box)
        self.pen.text((box[0], (box[1] + box[3]) / 2), text, size, colour, "lm")

    @staticmethod
    def _beside(x: float, y: float, away: float, turn: float, width: float, height: float) -> Box:
        cos, sin = math.cos(turn), math.sin(turn)
        left = x + away * cos + (cos - 1) / 2 * width
        top = y + away * sin + (sin - 1) / 2 * height
        return left, top, left + width, top + height


_TURNS: Final = tuple(math.radians(degrees) for degrees in (-25, 25, -155, 155, -90, 90, 0, 180, -60, 60, -120, 120))


def _within(box: Box) -> bool:
    return box[0] > _LEFT + 3 and box[2] < WIDTH_PX - 4 and box[1] > _TOP - 4 and box[3] < _HEIGHT_PX - _BOTTOM - 2


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] + 2 and other[0] < one[2] + 2 and one[1] < other[3] + 2 and other[1] < one[3] + 2
