"""Two small plots as inline SVG. Colours come from the page's style sheet by class, so they follow light and dark."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from lora_core.report.data import EpochRow, Interval, LossCurve

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 28, 18, 56
_MOST_POINTS = 240


@dataclass(frozen=True)
class _Axis:
    """A linear scale from values to pixels with round ticks."""

    low: float
    high: float
    from_px: float
    to_px: float

    def px(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.from_px + share * (self.to_px - self.from_px), 2)

    def ticks(self) -> list[float]:
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


def identity_against_leak(epochs: Sequence[EpochRow], max_leak: float) -> Markup:
    """Every measured epoch as a point with its intervals; right is more of the 3D look, up is more of the character."""
    measured = [(row, row.leak, row.identity) for row in epochs if row.leak and row.identity]
    if not measured:
        return Markup("")
    across = _fitted([v for _, leak, _ in measured for v in (leak.low, leak.high)] + [0.0, max_leak], horizontal=True)
    up = _fitted([v for _, _, identity in measured for v in (identity.low, identity.high)] + [0.0], horizontal=False)
    bound = across.px(max_leak)
    parts = [
        _frame(across, up, "leak of the 3D look →", "identity →"),
        f'<rect class="beyond" x="{bound}" y="{_TOP}" width="{max(0.0, _WIDTH - _RIGHT - bound):.2f}"'
        f' height="{_HEIGHT - _TOP - _BOTTOM}"/>',
        f'<line class="bound" x1="{bound}" x2="{bound}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>',
        f'<text class="tick" x="{bound - 6}" y="{_TOP + 14}" text-anchor="end">allowed up to {max_leak:g}</text>',
    ]
    points = [(across.px(leak.mean), up.px(identity.mean)) for _, leak, identity in measured]
    for (row, leak, identity), (x, y) in zip(measured, points, strict=True):
        parts.append(_cross(across, up, x, y, leak, identity, chosen=row.chosen))
    for (row, _, _), (x, y), (dx, dy, anchor) in zip(measured, points, _label_places(points), strict=True):
        kind = "label chosen" if row.chosen else "label"
        parts.append(
            f'<text class="{kind}" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">{escape(row.epoch)}</text>'
        )
    return _svg(parts, "Identity against leak of every epoch")


def loss_curve(curve: LossCurve) -> Markup:
    """A training's loss over its steps: bin means faint, their running mean drawn out."""
    values = _binned(curve.losses)
    if len(values) < 2:
        return Markup("")
    smooth = _running_mean(values)
    across = _Axis(0, len(curve.losses), _LEFT, _WIDTH - _RIGHT)
    up = _fitted([*values, 0.0], horizontal=False)
    centres = [(index + 0.5) * len(curve.losses) / len(values) for index in range(len(values))]
    parts = [_frame(across, up, "step", "loss")]
    for epoch in range(1, curve.epochs):
        x = across.px(epoch * len(curve.losses) / curve.epochs)
        parts.append(f'<line class="epoch" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    for kind, series in (("raw", values), ("smooth", smooth)):
        line = " ".join(f"{across.px(x)},{up.px(y)}" for x, y in zip(centres, series, strict=True))
        parts.append(f'<polyline class="{kind}" points="{line}"/>')
    return _svg(parts, f"Loss of {curve.label}")


def _svg(parts: Sequence[str], title: str) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )


def _frame(across: _Axis, up: _Axis, x_label: str, y_label: str) -> str:
    """Grid lines, ticks and the two axes' names."""
    floor, middle = _HEIGHT - _BOTTOM, (_TOP + _HEIGHT - _BOTTOM) / 2
    centre = (_LEFT + _WIDTH - _RIGHT) / 2
    parts = []
    for value in across.ticks():
        x = across.px(value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{floor}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{floor + 20}" text-anchor="middle">{value:g}</text>')
    for value in up.ticks():
        y = up.px(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    parts.append(
        f'<text class="axis" x="{centre}" y="{_HEIGHT - 10}" text-anchor="middle">{x_label}</text>'
        f'<text class="axis" x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">'
        f"{y_label}</text>"
    )
    return "".join(parts)


def _cross(across: _Axis, up: _Axis, x: float, y: float, leak: Interval, identity: Interval, *, chosen: bool) -> str:
    kind = "point chosen" if chosen else "point"
    return (
        f'<line class="interval" x1="{across.px(leak.low)}" x2="{across.px(leak.high)}" y1="{y}" y2="{y}"/>'
        f'<line class="interval" x1="{x}" x2="{x}" y1="{up.px(identity.low)}" y2="{up.px(identity.high)}"/>'
        f'<circle class="{kind}" cx="{x}" cy="{y}" r="{8 if chosen else 5}"/>'
    )


def _label_places(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, str]]:
    """An offset and anchor per point: the first of four sides where no point and no earlier label stands."""
    sides = ((11.0, -9.0, "start"), (-11.0, -9.0, "end"), (11.0, 19.0, "start"), (-11.0, 19.0, "end"))
    taken = list(points)
    places = []
    for x, y in points:
        free = [side for side in sides if all(math.dist((x + side[0], y + side[1]), other) > 13 for other in taken)]
        side = free[0] if free else sides[0]
        taken.append((x + side[0], y + side[1]))
        places.append(side)
    return places


def _fitted(values: Sequence[float], *, horizontal: bool) -> _Axis:
    """An axis that holds all values with a little room, ending at round numbers."""
    low, high = min(values), max(values)
    room = (high - low or 1.0) * 0.06
    step = _round_step((high - low + 2 * room) / 5)
    low = math.floor((low - room) / step) * step if low < 0 else 0.0
    high = math.ceil((high + room) / step) * step
    if horizontal:
        return _Axis(low, high, _LEFT, _WIDTH - _RIGHT)
    return _Axis(low, high, _HEIGHT - _BOTTOM, _TOP)


def _round_step(rough: float) -> float:
    """The nearest of 1, 2, 5 × a power of ten that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _binned(losses: Sequence[float]) -> list[float]:
    """At most 240 means of neighbouring steps."""
    count = min(len(losses), _MOST_POINTS)
    edges = [index * len(losses) // count for index in range(count + 1)] if count else [0]
    return [sum(losses[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def _running_mean(values: Sequence[float]) -> list[float]:
    """Mean over a window of a tenth of the curve, cut at the ends."""
    half = max(1, len(values) // 20)
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(window) / len(window) for window in windows]
