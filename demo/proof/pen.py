"""What the proof's charts are drawn with: Pillow at three times the size, round axes, one set of colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFont

INK, FAINT, GRID, PAPER = "#1c1d22", "#5f636e", "#e4e6eb", "#ffffff"
# Okabe & Ito 2008: told apart by people with any kind of colour vision.
COLOURS: Final = ("#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#000000")
GREY: Final = "#8a8f9b"
# Drawn larger and reduced: Pillow's lines have hard edges.
_FINE: Final = 3

Place = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Axis:
    """A linear scale with round ticks."""

    low: float
    high: float
    step: float
    from_px: float
    to_px: float

    def px(self, value: float) -> float:
        """Where a value lies."""
        return self.from_px + (value - self.low) / (self.high - self.low) * (self.to_px - self.from_px)

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [number * self.step for number in range(first, last + 1)]


def axis(values: Sequence[float], from_px: float, to_px: float, parts: int = 6) -> Axis:
    """An axis that holds all values and zero, with a little room, in about that many parts."""
    low, high = min(0.0, *values), max(0.0, *values)
    span = max(high - low, 0.05)
    power = 10.0 ** math.floor(math.log10(span / parts))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / parts * (1 - 1e-9))
    return Axis(low - span * 0.03, high + span * 0.06, step, from_px, to_px)


class Pen:
    """A white picture and what draws into it; coordinates are those of the finished one."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = (width_px, height_px)
        self._large = Image.new("RGB", (width_px * _FINE, height_px * _FINE), PAPER)
        self._draw = ImageDraw.Draw(self._large)

    def picture(self) -> Image.Image:
        """What was drawn."""
        return self._large.resize(self._size, Image.Resampling.LANCZOS)

    def line(self, ends: Sequence[Place], colour: str, width: float = 1.0) -> None:
        """A straight line, or several in a row."""
        self._draw.line([(x * _FINE, y * _FINE) for x, y in ends], fill=colour, width=max(1, round(width * _FINE)))

    def cross(self, across: Sequence[float], up: Sequence[float], at: Place, colour: str, width: float) -> None:
        """Two intervals through one point."""
        self.line([(x, at[1]) for x in across], colour, width)
        self.line([(at[0], y) for y in up], colour, width)

    def disc(self, at: Place, radius: float, colour: str) -> None:
        """A point with a thin white edge."""
        for r, fill in ((radius + 1.5, PAPER), (radius, colour)):
            self._draw.ellipse([(c + d * r) * _FINE for d in (-1, 1) for c in at], fill=fill)

    def text(self, at: Place, text: str, size: int, colour: str, anchor: str) -> None:
        """One line; `anchor` as Pillow has it."""
        where = (at[0] * _FINE, at[1] * _FINE)
        self._draw.text(where, text, font=_font(size * _FINE), fill=colour, anchor=anchor)


def text_width(text: str, size: int) -> float:
    """In px."""
    return _font(size).getlength(text)


def tick(value: float) -> str:
    """A round number without needless digits or a negative zero."""
    return f"{round(value, 4) + 0.0:g}"


def mixed(colour: str) -> str:
    """The colour, three parts of paper to two."""
    parts = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(part * 0.4 + 255 * 0.6):02x}" for part in parts)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
