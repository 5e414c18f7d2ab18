"""Two small plots as inline SVG. Colours come from the page's style sheet by class, so they follow light and dark."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from lora_core.report.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, fitted, frame, svg
from lora_core.report.data import EpochRow, Interval, LossCurve

_MOST_NAMED = 12


def identity_against_leak(epochs: Sequence[EpochRow], max_leak: float) -> Markup:
    """Every measured epoch × weight as a point with its intervals, a line and a shape for each weight.

    Right is more of the 3D look, up is more of the character.
    """
    measured = [(row, row.leak, row.identity) for row in epochs if row.leak and row.identity]
    if not measured:
        return Markup("")
    across = fitted([v for _, leak, _ in measured for v in (leak.low, leak.high)] + [0.0, max_leak], horizontal=True)
    up = fitted([v for _, _, identity in measured for v in (identity.low, identity.high)] + [0.0], horizontal=False)
    parts = [frame(across, up, "leak of the 3D look →", "identity →"), _bound(across, max_leak)]
    weights = sorted({row.weight for row in epochs})
    points = [(across.px(leak.mean), up.px(identity.mean)) for _, leak, identity in measured]
    for weight in weights:
        line = " ".join(
            f"{x},{y}" for (row, _, _), (x, y) in zip(measured, points, strict=True) if row.weight == weight
        )
        parts.append(f'<polyline class="weight" points="{line}"/>')
    for (row, leak, identity), (x, y) in zip(measured, points, strict=True):
        parts.append(_point(across, up, (x, y), row, leak, identity, weights.index(row.weight)))
    named = [index for index, (row, _, _) in enumerate(measured) if row.chosen or _is_named(row, measured)]
    places = _label_places([points[index] for index in named], points)
    for index, (dx, dy, anchor) in zip(named, places, strict=True):
        row, (x, y) = measured[index][0], points[index]
        kind = "label chosen" if row.chosen else "label"
        parts.append(
            f'<text class="{kind}" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">{escape(row.epoch)}</text>'
        )
    return svg(parts, "Identity against leak of every epoch and weight")


def variants_plot(variants: Sequence[tuple[str, EpochRow]], max_leak: float) -> Markup:
    """One named point for each variant, with its intervals."""
    measured = [(name, row, row.leak, row.identity) for name, row in variants if row.leak and row.identity]
    if not measured:
        return Markup("")
    across = fitted([v for *_, leak, _ in measured for v in (leak.low, leak.high)] + [0.0, max_leak], horizontal=True)
    up = fitted([v for *_, identity in measured for v in (identity.low, identity.high)] + [0.0], horizontal=False)
    parts = [frame(across, up, "leak of the 3D look →", "identity →"), _bound(across, max_leak)]
    points = [(across.px(leak.mean), up.px(identity.mean)) for *_, leak, identity in measured]
    for (_, row, leak, identity), at in zip(measured, points, strict=True):
        parts.append(_point(across, up, at, row, leak, identity, 0))
    for (name, *_), (x, y), (dx, dy, anchor) in zip(measured, points, _label_places(points, points), strict=True):
        parts.append(
            f'<text class="label" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
        )
    return svg(parts, "Identity against leak of every variant")


def weight_shapes(epochs: Sequence[EpochRow]) -> list[tuple[Markup, float]]:
    """The plot's legend: a small picture of each weight's shape."""
    weights = sorted({row.weight for row in epochs})
    return [
        (
            Markup(
                f'<svg class="plot key" viewBox="0 0 16 16" aria-hidden="true">{_shape(8, 8, 5, index, "point")}</svg>'
            ),
            weight,
        )
        for index, weight in enumerate(weights)
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
        told = f"not trained: loss {loss:.4f} after step {step:.0f}"
        dot = f'<circle class="point" cx="{across.px(step)}" cy="{up.px(loss)}" r="5"/>'
        parts.append(f"<g><title>{told}</title>{dot}</g>")
    return svg(parts, f"Loss of {curve.label}")


def _bound(across: Axis, max_leak: float) -> str:
    """What is out of bounds, shaded."""
    bound = across.px(max_leak)
    return (
        f'<rect class="beyond" x="{bound}" y="{TOP}" width="{max(0.0, WIDTH - RIGHT - bound):.2f}"'
        f' height="{HEIGHT - TOP - BOTTOM}"/>'
        f'<line class="bound" x1="{bound}" x2="{bound}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="{bound - 6}" y="{TOP + 14}" text-anchor="end">allowed up to {max_leak:g}</text>'
    )


def _point(
    across: Axis,
    up: Axis,
    at: tuple[float, float],
    row: EpochRow,
    leak: Interval,
    identity: Interval,
    shape: int,
) -> str:
    """The point with its intervals; what they are called shows when the mouse rests on it."""
    x, y = at
    kind = " ".join(["point", *(["chosen"] if row.chosen else []), *([] if row.within_bounds else ["out"])])
    told = f"epoch {row.epoch}, weight {row.weight:g}: identity {identity.mean:.2f}, leak {leak.mean:.2f}"
    return (
        f'<g class="sample{" chosen" if row.chosen else ""}"><title>{escape(told)}</title>'
        f'<line class="interval" x1="{across.px(leak.low)}" x2="{across.px(leak.high)}" y1="{y}" y2="{y}"/>'
        f'<line class="interval" x1="{x}" x2="{x}" y1="{up.px(identity.low)}" y2="{up.px(identity.high)}"/>'
        f"{_shape(x, y, 8 if row.chosen else 5, shape, kind)}</g>"
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


def _is_named(row: EpochRow, measured: Sequence[tuple[EpochRow, Interval, Interval]]) -> bool:
    """Few points are all named; of many, each weight's first and last."""
    own = [other for other, _, _ in measured if other.weight == row.weight]
    return len(measured) <= _MOST_NAMED or row in (own[0], own[-1])


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
