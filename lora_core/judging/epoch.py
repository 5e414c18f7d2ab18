"""Which epoch ships: one stated rule, and a table that shows why."""

from collections.abc import Sequence

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.errors import GateError
from lora_core.judging.scores import EpochFigures, Figure, Figures
from lora_core.recipe import Judging


class Row(Frozen):
    """One epoch as the choice saw it."""

    epoch: str
    file: str
    identity: Figure | None
    leak: Figure | None
    within_bounds: bool
    chosen: bool


class Choice(Frozen):
    """The epoch that ships."""

    epoch: str
    file: str
    reason: str
    flagged: bool = Field(description="A person should look: no epoch is within bounds, or a figure is missing.")
    max_leak: float
    table: tuple[Row, ...]
    not_measured: tuple[str, ...] = Field(description="Tags that the tagger does not know.")


def choose_epoch(figures: Figures, options: Judging) -> Choice:
    """Among the epochs whose leak is within bounds the one with the highest lower bound of identity.

    Ties go to the earlier epoch. If none is within bounds, the one with least leak is taken and flagged; if no trait
    could be measured, the last one within bounds is taken and flagged.

    Raises:
        GateError: there is no epoch.
    """
    if not figures.epochs:
        raise GateError("no epoch was sampled; sample the epochs before judging them")
    within = [epoch for epoch in figures.epochs if _within(epoch, options)]
    best, reason, flagged = _pick(figures.epochs, within, options)
    if best.leak is None:
        reason += " The 3D look was not measured: the tagger knows none of its tags."
    return Choice(
        epoch=best.epoch,
        file=best.file,
        reason=reason,
        flagged=flagged or best.leak is None,
        max_leak=options.max_leak,
        table=tuple(
            Row(
                epoch=epoch.epoch,
                file=epoch.file,
                identity=epoch.identity,
                leak=epoch.leak,
                within_bounds=_within(epoch, options),
                chosen=epoch.epoch == best.epoch,
            )
            for epoch in figures.epochs
        ),
        not_measured=figures.not_measured,
    )


def _pick(
    epochs: Sequence[EpochFigures], within: Sequence[EpochFigures], options: Judging
) -> tuple[EpochFigures, str, bool]:
    """The epoch, why, and whether a person should look. `max` and `min` keep the earlier of equals."""
    bound = f"{options.max_leak:.2f}"
    if not within:
        best = min(epochs, key=_leak)
        reason = (
            f"No epoch's leak is within {bound}; epoch {best.epoch} has the least, {_leak(best):.2f}. "
            "Look at the grid: fewer epochs, a lower rank or more style screenshots usually help."
        )
        return best, reason, True
    measured = [(epoch, epoch.identity) for epoch in within if epoch.identity]
    if not measured:
        best = within[-1]
        reason = (
            "Identity could not be measured: no trait that the tagger knows was taken out of the captions. "
            f"Epoch {best.epoch} is the last one whose leak is within {bound}."
        )
        return best, reason, True
    best, identity = max(measured, key=lambda pair: pair[1].low)
    reason = (
        f"Epoch {best.epoch} has the highest lower bound of identity ({identity.low:.2f}) among the "
        f"{len(within)} of {len(epochs)} epochs whose leak is within {bound}."
    )
    return best, reason, False


def _within(epoch: EpochFigures, options: Judging) -> bool:
    """Whether the mean leak is at most the bound; an unmeasured leak bars nothing."""
    return epoch.leak is None or epoch.leak.mean <= options.max_leak


def _leak(epoch: EpochFigures) -> float:
    return epoch.leak.mean if epoch.leak else 0.0
