"""Identity against leak, drawn with Pillow: every arm and epoch, intervals as bars, names beside the points."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from lora_core.judging.bootstrap import Figure

WIDTH_PX: Final = 1000
_HEIGHT_PX: Final = 680
# Drawn larger and reduced: Pillow's lines have hard edges.
_FINE: Final = 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 34, 84, 72
_INK, _FAINT, _GRID, _PAPER = "#1c1d22", "#5f636e", "#e4e6eb", "#ffffff"
# Okabe & Ito 2008: told apart by people with any kind of colour vision.
COLOURS: Final = ("#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#000000")
GREY: Final = "#8a8f9b"

Box = tuple[float, float, float, float]


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


@dataclass(frozen=True)
class _Axis:
    """A linear scale with round ticks."""

    low: float
    high: float
    step: float
    from_px: float
    to_px: float

    def px(self, value: float) -> float:
        return self.from_px + (value - self.low) / (self.high - self.low) * (self.to_px - self.from_px)

    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [number * self.step for number in range(first, last + 1)]


def identity_against_leak(series: Sequence[Series], title: str) -> Image.Image:
    """The chart, 1000 px wide. Right is more of the 3D look, up is more of the character: best is top left.

    Raises:
        ValueError: there is no point.
    """
    points = [point for each in series for point in each.points]
    if not points:
        raise ValueError("a chart needs a point")
    across = _axis([v for p in points for v in (p.leak.low, p.leak.high)], _LEFT, WIDTH_PX - _RIGHT)
    up = _axis([v for p in points for v in (p.identity.low, p.identity.high)], _HEIGHT_PX - _BOTTOM, _TOP)
    chart = _Chart(across, up)
    chart.frame(title)
    for each in series:
        chart.path(each)
    for number, each in enumerate(series):
        chart.epochs(each, max(5.0, 11.0 - 2 * number) if each.colour != GREY else 7.0)
    for each in series:
        chart.name(each)
    return chart.picture.resize((WIDTH_PX, _HEIGHT_PX), Image.Resampling.LANCZOS)


class _Chart:
    """The picture being drawn; coordinates are those of the reduced one."""

    def __init__(self, across: _Axis, up: _Axis) -> None:
        self.picture = Image.new("RGB", (WIDTH_PX * _FINE, _HEIGHT_PX * _FINE), _PAPER)
        self._pen = ImageDraw.Draw(self.picture)
        self._across, self._up = across, up
        self._taken: list[Box] = []

    def frame(self, title: str) -> None:
        floor, right = _HEIGHT_PX - _BOTTOM, WIDTH_PX - _RIGHT
        for value in self._across.ticks():
            x = self._across.px(value)
            self._line(((x, _TOP), (x, floor)), _FAINT if abs(value) < 1e-9 else _GRID)
            self._text((x, floor + 9), _tick(value), 15, _FAINT, "ma")
        for value in self._up.ticks():
            y = self._up.px(value)
            self._line(((_LEFT, y), (right, y)), _FAINT if abs(value) < 1e-9 else _GRID)
            self._text((_LEFT - 9, y), _tick(value), 15, _FAINT, "rm")
        self._text((_LEFT, 14), title, 20, _INK, "la")
        self._text(((_LEFT + right) / 2, _HEIGHT_PX - 12), "leak: how much of the 3D look came along", 17, _INK, "md")
        self._text((_LEFT, _TOP - 12), "identity: how much of the character is there", 17, _INK, "ld")
        notes = "best is top left; bars: 95 % intervals; numbers: epochs; *: style stage missed the gates"
        self._text((right, _TOP - 12), notes, 14, _FAINT, "rd")

    def path(self, series: Series) -> None:
        """Intervals and the line through the epochs; faint but for the last epoch's."""
        places = [self._place(point) for point in series.points]
        for pair in itertools.pairwise(places):
            self._line(pair, _mixed(GREY) if series.colour == GREY else series.colour, 1.6)
        for number, (point, (x, y)) in enumerate(zip(series.points, places, strict=True), start=1):
            last = number == len(places)
            colour, width = (series.colour, 2.2) if last else (_mixed(series.colour), 1.0)
            left, right = (self._across.px(value) for value in (point.leak.low, point.leak.high))
            top, bottom = (self._up.px(value) for value in (point.identity.high, point.identity.low))
            self._line(((left, y), (right, y)), colour, width)
            self._line(((x, top), (x, bottom)), colour, width)
            if last:
                self._taken += [(left, y - 1, right, y + 1), (x - 1, top, x + 1, bottom)]

    def epochs(self, series: Series, last_radius: float) -> None:
        """The points; of coloured arms each has a smaller last one, so that none hides another."""
        for number, point in enumerate(series.points, start=1):
            x, y = self._place(point)
            radius = last_radius if number == len(series.points) else 3.5
            self._disc(x, y, radius, series.colour)
            self._taken.append((x - radius, y - radius, x + radius, y + radius))
            if len(series.points) > 1 and series.colour != GREY:
                self._label(x, y, radius, point.epoch, 13, _FAINT)

    def name(self, series: Series) -> None:
        x, y = self._place(series.points[-1])
        self._label(x, y, 9, series.name, 18, _INK if series.colour == GREY else series.colour)

    def _place(self, point: Point) -> tuple[float, float]:
        return self._across.px(point.leak.mean), self._up.px(point.identity.mean)

    def _label(self, x: float, y: float, radius: float, text: str, size: int, colour: str) -> None:
        """Beside a point, at the first place of ever wider circles where nothing else stands."""
        width, height = _font(size).getlength(text), size * 0.8
        boxes = [self._beside(x, y, radius + away, turn, width, height) for away in (4, 14, 26, 42) for turn in _TURNS]
        inside = [box for box in boxes if _within(box)]
        box = next((box for box in inside if not any(_overlap(box, other) for other in self._taken)), boxes[0])
        self._taken.append(box)
        self._text((box[0], (box[1] + box[3]) / 2), text, size, colour, "lm")

    @staticmethod
    def _beside(x: float, y: float, away: float, turn: float, width: float, height: float) -> Box:
        cos, sin = math.cos(turn), math.sin(turn)
        left = x + away * cos + (cos - 1) / 2 * width
        top = y + away * sin + (sin - 1) / 2 * height
        return left, top, left + width, top + height

    def _line(self, ends: Sequence[tuple[float, float]], colour: str, width: float = 1.0) -> None:
        self._pen.line([(x * _FINE, y * _FINE) for x, y in ends], fill=colour, width=max(1, round(width * _FINE)))

    def _disc(self, x: float, y: float, radius: float, colour: str) -> None:
        for r, fill in ((radius + 1.5, _PAPER), (radius, colour)):
            self._pen.ellipse([(c + d * r) * _FINE for d in (-1, 1) for c in (x, y)], fill=fill)

    def _text(self, at: tuple[float, float], text: str, size: int, colour: str, anchor: str) -> None:
        self._pen.text((at[0] * _FINE, at[1] * _FINE), text, font=_font(size * _FINE), fill=colour, anchor=anchor)


_TURNS: Final = tuple(math.radians(degrees) for degrees in (-25, 25, -155, 155, -90, 90, 0, 180, -60, 60, -120, 120))


def _axis(values: Sequence[float], from_px: float, to_px: float) -> _Axis:
    """An axis that holds all values and zero, with a little room."""
    low, high = min(0.0, *values), max(0.0, *values)
    span = max(high - low, 0.05)
    power = 10.0 ** math.floor(math.log10(span / 6))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 6 * (1 - 1e-9))
    return _Axis(low - span * 0.03, high + span * 0.06, step, from_px, to_px)


def _tick(value: float) -> str:
    return f"{round(value, 4) + 0.0:g}"


def _within(box: Box) -> bool:
    return box[0] > _LEFT + 3 and box[2] < WIDTH_PX - 4 and box[1] > _TOP - 4 and box[3] < _HEIGHT_PX - _BOTTOM - 2


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] + 2 and other[0] < one[2] + 2 and one[1] < other[3] + 2 and other[1] < one[3] + 2


def _mixed(colour: str) -> str:
    """The colour, three parts of paper to two."""
    parts = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(part * 0.4 + 255 * 0.6):02x}" for part in parts)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
