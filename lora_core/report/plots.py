"""Small plots as inline SVG. Colours come from the page's style sheet by class, so they follow light and dark."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from lora_core.judging.bootstrap import Score
from lora_core.judging.metrics import IDENTITY, LEAK
from lora_core.judging.verdict import JudgedEpoch, Verdict
from lora_core.report.data import LossCurve

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


_MOST_NAMED = 12


class _Plane:
    """Named epochs by identity and leak: right is more of the 3D look, up is more of the character."""

    def __init__(self, named: Iterable[tuple[str, JudgedEpoch]], bound: float) -> None:
        found = [(name, row, row.metrics.score(LEAK), row.metrics.score(IDENTITY)) for name, row in named]
        measured = [(name, row, leak, identity) for name, row, leak, identity in found if leak and identity]
        self.names, self.rows = [name for name, *_ in measured], [row for _, row, *_ in measured]
        self._scores = [(leak, identity) for *_, leak, identity in measured]
        self._across = fitted([0.0, bound, *_ends(leak for leak, _ in self._scores)], horizontal=True)
        self._up = fitted([0.0, *_ends(identity for _, identity in self._scores)], horizontal=False)
        self.points = [(self._across.px(leak.mean), self._up.px(identity.mean)) for leak, identity in self._scores]
        axes = frame(self._across, self._up, f"{LEAK.label} →", f"{IDENTITY.label} →")
        self.parts = [axes, _bound(self._across, bound)]

    def draw(self, index: int, shape: int) -> None:
        """Draw a point with its intervals; what they are called shows when the mouse rests on it."""
        (one, ruling), (x, y), (leak, identity) = self.rows[index], self.points[index], self._scores[index]
        kind = "point" + " chosen" * ruling.chosen + " out" * (not ruling.within_bounds)
        texts = (
            f"{metric.label} {metric.format(score.mean)}" for metric, score in ((IDENTITY, identity), (LEAK, leak))
        )
        title = f"epoch {one.epoch}, weight {one.weight:g}: {', '.join(texts)}"
        left, right, low, high = (*map(self._across.px, (leak.low, leak.high)), *map(self._up.px, _ends([identity])))
        self.parts.append(
            f'<g class="sample{" chosen" if ruling.chosen else ""}"><title>{escape(title)}</title>'
            f'<line class="interval" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
            f'<line class="interval" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>'
            f"{_shape(x, y, 8 if ruling.chosen else 5, shape, kind)}</g>"
        )

    def label(self, indices: Sequence[int], kind: str) -> None:
        """Write names, each where no point and no other name stands; what is chosen is of another kind."""
        places = _label_places([self.points[index] for index in indices], self.points)
        for index, (dx, dy, anchor) in zip(indices, places, strict=True):
            (x, y), chosen = self.points[index], self.rows[index].ruling.chosen
            at = f'x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}"'
            self.parts.append(f'<text class="label{kind if chosen else ""}" {at}>{escape(self.names[index])}</text>')


def identity_against_leak(verdict: Verdict) -> Markup:
    """Every measured epoch × weight as a point with its intervals, a line and a shape for each weight."""
    plane = _Plane(((row.metrics.epoch, row) for row in verdict.rows), verdict.choice.bounds[LEAK.key])
    if not plane.rows:
        return Markup("")
    weights = _weights(verdict.rows)
    for weight in weights:
        own = [at for row, at in zip(plane.rows, plane.points, strict=True) if row.metrics.weight == weight]
        plane.parts.append(f'<polyline class="weight" points="{" ".join(f"{x},{y}" for x, y in own)}"/>')
    for index, row in enumerate(plane.rows):
        plane.draw(index, weights.index(row.metrics.weight))
    plane.label([n for n, row in enumerate(plane.rows) if row.ruling.chosen or _is_named(row, plane.rows)], " chosen")
    return svg(plane.parts, "Identity against leak of every epoch and weight")


def variants_plot(variants: Sequence[tuple[str, Verdict]]) -> Markup:
    """One named point for each variant's chosen epoch, with its intervals."""
    bound = next((verdict.choice.bounds[LEAK.key] for _, verdict in variants), 0.0)
    plane = _Plane(((name, verdict.chosen) for name, verdict in variants), bound)
    if not plane.rows:
        return Markup("")
    for index in range(len(plane.rows)):
        plane.draw(index, 0)
    plane.label(range(len(plane.rows)), "")
    return svg(plane.parts, "Identity against leak of every variant")


def weight_shapes(rows: Sequence[JudgedEpoch]) -> list[tuple[Markup, float]]:
    """The plot's legend: a small picture of each weight's shape."""
    return [
        (
            Markup(
                f'<svg class="plot key" viewBox="0 0 16 16" aria-hidden="true">{_shape(8, 8, 5, index, "point")}</svg>'
            ),
            weight,
        )
        for index, weight in enumerate(_weights(rows))
    ]


def loss_curve(curve: LossCurve) -> Markup:
    """A training's loss over its steps, and the held-out pictures' as dots."""
    if len(curve.points) < 2:
        return Markup("")
    steps = curve.points[-1][0]
    across = Axis(0, steps, LEFT, WIDTH - RIGHT)
    up = fitted([0.0, *(loss for _, loss in (*curve.points, *curve.validation))], horizontal=False)
    parts = [frame(across, up, "step", "loss")]
    for epoch in range(1, curve.epochs):
        x = across.px(epoch * steps / curve.epochs)
        parts.append(f'<line class="epoch" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    line = " ".join(f"{across.px(step)},{up.px(loss)}" for step, loss in curve.points)
    parts.append(f'<polyline class="smooth" points="{line}"/>')
    for step, loss in curve.validation:
        title = f"not trained: loss {loss:.4f} after step {step:.0f}"
        dot = f'<circle class="point" cx="{across.px(step)}" cy="{up.px(loss)}" r="5"/>'
        parts.append(f"<g><title>{title}</title>{dot}</g>")
    return svg(parts, f"Loss of {curve.label}")


def _bound(across: Axis, max_leak: float) -> str:
    """What is out of bounds, shaded."""
    bound = across.px(max_leak)
    # On the roomier side, so that it does not lie over the other axis's numbers.
    x, anchor, words = (
        (bound + 6, "start", "too much: above") if bound < WIDTH / 2 else (bound - 6, "end", "allowed up to")
    )
    return (
        f'<rect class="beyond" x="{bound}" y="{TOP}" width="{max(0.0, WIDTH - RIGHT - bound):.2f}"'
        f' height="{HEIGHT - TOP - BOTTOM}"/>'
        f'<line class="bound" x1="{bound}" x2="{bound}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="{x}" y="{TOP + 14}" text-anchor="{anchor}">{words} {max_leak:g}</text>'
    )


def _shape(x: float, y: float, radius: float, number: int, kind: str) -> str:
    """A circle, square, diamond or triangle, so that weights differ by more than colour."""
    if number % 4 == 0:
        return f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}"/>'
    if number % 4 == 1:
        side = radius * 1.8
        return f'<rect class="{kind}" x="{x - side / 2:.2f}" y="{y - side / 2:.2f}" width="{side}" height="{side}"/>'
    corners = [(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]
    if number % 4 == 3:
        corners = [(0.0, -1.3), (1.2, 0.9), (-1.2, 0.9)]
    points = " ".join(f"{x + radius * dx:.2f},{y + radius * dy:.2f}" for dx, dy in corners)
    return f'<polygon class="{kind}" points="{points}"/>'


def _weights(rows: Sequence[JudgedEpoch]) -> list[float]:
    return sorted({row.metrics.weight for row in rows})


def _ends(scores: Iterable[Score]) -> list[float]:
    return [end for score in scores for end in (score.low, score.high)]


def _is_named(row: JudgedEpoch, rows: Sequence[JudgedEpoch]) -> bool:
    """Few points are all named; of many, each weight's first and last."""
    own = [other for other in rows if other.metrics.weight == row.metrics.weight]
    return len(rows) <= _MOST_NAMED or row is own[0] or row is own[-1]


def _label_places(
    points: Sequence[tuple[float, float]], obstacles: Sequence[tuple[float, float]]
) -> list[tuple[float, float, str]]:
    """An offset and anchor per point: the first of four sides where no point and no earlier label stands."""
    sides = ((11.0, -9.0, "start"), (-11.0, -9.0, "end"), (11.0, 19.0, "start"), (-11.0, 19.0, "end"))
    taken = list(obstacles)
    places = []
    for x, y in points:
        free = [side for side in sides if all(math.dist((x + side[0], y + side[1]), other) > 13 for other in taken)]
        side = free[0] if free else sides[0]
        taken.append((x + side[0], y + side[1]))
        places.append(side)
    return places
