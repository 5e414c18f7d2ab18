"""What all plots share: axes with round ticks, drawn as inline SVG whose colours come from the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 66, 28, 18, 56


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels with round ticks."""

    low: float
    high: float
    from_px: float
    to_px: float

    def px(self, value: float) -> float:
        """Where a value stands."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.from_px + share * (self.to_px - self.from_px), 2)

    def ticks(self) -> list[float]:
        """Round values, about five."""
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


def svg(parts: Sequence[str], title: str) -> Markup:
    """The parts as one picture that says its title to who cannot see it."""
    body = "".join(parts)
    return Markup(
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )


def frame(across: Axis, up: Axis, x_label: str, y_label: str) -> str:
    """Grid lines, ticks and the two axes' names."""
    floor, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    centre = (LEFT + WIDTH - RIGHT) / 2
    parts = []
    for value in across.ticks():
        x = across.px(value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{floor}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{floor + 20}" text-anchor="middle">{value:g}</text>')
    for value in up.ticks():
        y = up.px(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    parts.append(
        f'<text class="axis" x="{centre}" y="{HEIGHT - 10}" text-anchor="middle">{x_label}</text>'
        f'<text class="axis" x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
        f"{y_label}</text>"
    )
    return "".join(parts)


def fitted(values: Sequence[float], *, horizontal: bool) -> Axis:
    """An axis that holds all values with a little room, ending at round numbers."""
    low, high = min(values), max(values)
    room = (high - low or 1.0) * 0.06
    step = _round_step((high - low + 2 * room) / 5)
    low = math.floor((low - room) / step) * step if low < 0 else 0.0
    high = math.ceil((high + room) / step) * step
    if horizontal:
        return Axis(low, high, LEFT, WIDTH - RIGHT)
    return Axis(low, high, HEIGHT - BOTTOM, TOP)


def _round_step(rough: float) -> float:
    """The nearest of 1, 2, 5 × a power of ten that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
