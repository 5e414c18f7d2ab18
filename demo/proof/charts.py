"""Identity against leak, drawn by matplotlib: the core arms in one chart, and a small chart for every variant."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Page
from PIL import Image

from lora_core.judging.bootstrap import Score

# Okabe & Ito 2008: told apart by people with any kind of colour vision.
COLOURS: Final = ("#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#000000")
GREY: Final = "#8a8f9b"
_FAINT: Final = "#5f636e"
_LEAK: Final = "leak: how much of the 3D look came along"
_IDENTITY: Final = "identity: how much of the character is there"
_DPI: Final = 100
_COLUMNS: Final = 4


@dataclass(frozen=True)
class Point:
    """One epoch."""

    epoch: str
    leak: Score
    identity: Score


@dataclass(frozen=True)
class Series:
    """One arm, its epochs in order; the last one is the arm's result and carries its name."""

    name: str
    colour: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Beside:
    """An arm, and the last epoch of the one of which it changes one thing, over the same runs."""

    series: Series
    other: Series


def identity_against_leak(series: Sequence[Series], title: str) -> Image.Image:
    """One chart of all series, 1000 px wide. Right is more of the 3D look, up more of the character: best is top left.

    Raises:
        ValueError: there is no point.
    """
    if not any(each.points for each in series):
        raise ValueError("a chart needs a point")
    page = Page(figsize=(10, 6.8), dpi=_DPI, layout="constrained")
    axes = page.subplots()
    _frame(axes)
    page.suptitle(title, x=0.01, ha="left", fontsize=15)
    axes.set_title(
        "best is top left; bars: 95 % intervals; numbers: epochs; *: a merged model does not draw the look",
        loc="left", fontsize=10, color=_FAINT,
    )  # fmt: skip
    axes.set_xlabel(_LEAK, fontsize=12)
    axes.set_ylabel(_IDENTITY, fontsize=12)
    for each in series:
        _draw(axes, each, size=9)
        for point in each.points[:-1]:
            _beside(axes, point, point.epoch, _FAINT, 8)
        _beside(axes, each.points[-1], each.name, each.colour, 13)
    return _picture(page)


def side_by_side(variants: Sequence[Beside], title: str) -> Image.Image:
    """A small chart for every variant, all with the same axes, 1000 px wide.

    Raises:
        ValueError: there is none.
    """
    if not variants:
        raise ValueError("charts side by side need a variant")
    rows = math.ceil(len(variants) / _COLUMNS)
    page = Page(figsize=(10, 0.9 + 2.1 * rows), dpi=_DPI, layout="constrained")
    page.suptitle(
        f"{title}\nup: {_IDENTITY}; right: {_LEAK}; best is top left\n"
        "grey: what was changed, in the same runs; bars: 95 % intervals; small: earlier epochs; *: missed the gate",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    grid = page.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, each in zip(grid, variants, strict=False):
        axes.set_axis_on()
        _frame(axes)
        axes.tick_params(labelbottom=True, labelleft=True)
        axes.set_title(each.series.name, loc="left", fontsize=10)
        axes.set_xlabel(f"beside {each.other.name}", loc="right", fontsize=9, color=GREY)
        for series in (each.other, each.series):
            _draw(axes, series, size=6)
    return _picture(page)


def _frame(axes: Axes) -> None:
    """Light lines behind the data, and zero where it counts."""
    axes.spines[:].set_visible(False)
    axes.grid(color="#e4e6eb", linewidth=0.8)
    axes.axhline(0, color=_FAINT, linewidth=1)
    axes.axvline(0, color=_FAINT, linewidth=1)
    axes.tick_params(colors=_FAINT, length=0, labelsize=9)
    axes.set_axisbelow(True)


def _draw(axes: Axes, series: Series, size: float) -> None:
    """A line through the epochs with their intervals; all but the last are small and pale."""
    leaks, identities = ([getattr(point, of).mean for point in series.points] for of in ("leak", "identity"))
    axes.plot(leaks, identities, color=series.colour, linewidth=1.4)
    for number, point in enumerate(series.points, start=1):
        last = number == len(series.points)
        axes.errorbar(
            point.leak.mean, point.identity.mean, xerr=_reach(point.leak), yerr=_reach(point.identity),
            color=series.colour, alpha=1.0 if last else 0.4, elinewidth=2.0 if last else 0.9,
            marker="o", markersize=size if last else size / 2, markeredgecolor="white" if last else series.colour,
            zorder=4 if last else 3,
        )  # fmt: skip


def _reach(score: Score) -> list[list[float]]:
    """How far the interval goes down and up from the mean, as `errorbar` wants it."""
    return [[max(0.0, score.mean - score.low)], [max(0.0, score.high - score.mean)]]


def _beside(axes: Axes, point: Point, text: str, colour: str, size: int) -> None:
    """A word to the right of a point, on paper of its own so that no line runs through it."""
    axes.annotate(
        text, (point.leak.mean, point.identity.mean), xytext=(0.7 * size, -0.9 * size), textcoords="offset points",
        fontsize=size, color=colour, zorder=5, bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.5, "linewidth": 0},
    )  # fmt: skip


def _picture(page: Page) -> Image.Image:
    buffer = BytesIO()
    page.savefig(buffer, format="png")
    with Image.open(buffer) as picture:
        return picture.convert("RGB")
