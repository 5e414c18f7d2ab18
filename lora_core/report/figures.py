"""From a verdict to the rows that people read."""

from lora_core.judging.bootstrap import Figure
from lora_core.judging.embedded import Closest
from lora_core.judging.epoch import Row
from lora_core.judging.likeness import Nearest
from lora_core.judging.scores import EpochFigures, Without
from lora_core.judging.verdict import Verdict
from lora_core.report.data import EpochRow, Interval


def rows_of(verdict: Verdict) -> tuple[EpochRow, ...]:
    """Every epoch at every weight, in drawing order."""
    return tuple(_row(figures, row) for figures, row in zip(verdict.figures.epochs, verdict.choice.table, strict=True))


def baseline(without: Without) -> EpochRow:
    """What the base shows by itself."""
    return EpochRow(
        epoch="none",
        weight=0,
        obedience=interval(without.obedience),
        copying=interval(without.copying),
        copying_cosine=interval(without.copying_cosine),
        diversity=interval(without.diversity),
    )


def interval(figure: Figure | None) -> Interval | None:
    """A figure as reports keep it."""
    return Interval(mean=figure.mean, low=figure.low, high=figure.high) if figure else None


def _row(figures: EpochFigures, row: Row) -> EpochRow:
    return EpochRow(
        epoch=figures.epoch,
        weight=figures.weight,
        identity=interval(figures.identity),
        leak=interval(figures.leak),
        background=interval(figures.background),
        habits=interval(figures.habits),
        obedience=interval(figures.obedience),
        copying=interval(figures.copying),
        diversity=interval(figures.diversity),
        second=interval(figures.second),
        copying_cosine=interval(figures.copying_cosine),
        likeness=interval(figures.likeness),
        nearest=_nearest(figures.nearest),
        closest=_closest(figures.closest),
        within_bounds=row.within_bounds,
        chosen=row.chosen,
        reason=row.reason,
    )


def _nearest(nearest: Nearest | None) -> str:
    return f"{nearest.picture}, {nearest.bits} of 256 bits differ" if nearest else ""


def _closest(closest: Closest | None) -> str:
    return f"{closest.picture}, cosine {closest.cosine:.2f}" if closest else ""
