"""Which epoch ships, and at which weight: one stated rule, a table that shows why, and a person above it."""

from collections.abc import Sequence

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.errors import GateError
from lora_core.judging.scores import EpochFigures, Figures
from lora_core.recipe import Judging

RULE = (
    "Among the epochs × weights whose leak and copying are within bounds, the one with the highest lower bound of "
    "identity; ties go to the earlier epoch, then to the lower weight."
)


class Row(Frozen):
    """One epoch at one weight as the choice saw it."""

    epoch: str
    weight: float
    within_bounds: bool
    chosen: bool
    reason: str = Field(description="Why it was chosen or not.")


class Choice(Frozen):
    """The epoch that ships."""

    epoch: str
    weight: float
    file: str
    reason: str
    by_hand: bool = Field(description="A person overruled the rule.")
    flagged: bool = Field(description="A person should look: nothing is within bounds, or a figure is missing.")
    max_leak: float
    table: tuple[Row, ...]
    not_measured: tuple[str, ...] = Field(description="Tags that the tagger does not know.")

    @property
    def passed(self) -> bool:
        """Whether anything is within bounds."""
        return any(row.within_bounds for row in self.table)


def choose_epoch(figures: Figures, options: Judging) -> Choice:
    """`RULE`, or what the options say by hand.

    If nothing is within bounds, what leaks least is taken and flagged; if no trait could be measured, the last one
    within bounds is taken and flagged.

    Raises:
        GateError: there is no epoch, or not the one that the options name.
    """
    if not figures.epochs:
        raise GateError("no epoch was sampled; sample the epochs before judging them")
    within = [one for one in figures.epochs if not beyond(one, options)]
    ruled, reason, flagged = _by_rule(figures.epochs, within, options)
    best, by_hand = _by_hand(figures.epochs, ruled, options), bool(options.epoch or options.weight)
    if by_hand:
        reason = f"{_named(best)} was chosen by hand. By the rule: {reason}"
    if best.leak is None:
        reason += " The 3D look was not measured: the tagger knows none of its tags."
    return Choice(
        epoch=best.epoch,
        weight=best.weight,
        file=best.file,
        reason=reason,
        by_hand=by_hand,
        flagged=(flagged and not by_hand) or best.leak is None,
        max_leak=options.max_leak,
        table=tuple(_row(one, best, ruled, options, by_hand=by_hand) for one in figures.epochs),
        not_measured=figures.not_measured,
    )


def beyond(figures: EpochFigures, options: Judging) -> tuple[str, ...]:
    """The bounds that are missed, each in words with figure and bound; what was not measured misses none."""
    bounds = (
        ("leak of the look", figures.leak, options.max_leak),
        ("leak of the background", figures.background, options.max_background),
        ("leak of framing and pose", figures.habits, options.max_habits),
        ("share of copies", figures.copying, options.max_copying),
        ("share of copies by the embedder", figures.copying_cosine, options.max_copying),
    )
    return tuple(
        f"{name} {figure.mean:.2f}, at most {bound:.2f}"
        for name, figure, bound in bounds
        if figure and figure.mean > bound
    )


def _by_rule(
    every: Sequence[EpochFigures], within: Sequence[EpochFigures], options: Judging
) -> tuple[EpochFigures, str, bool]:
    """The choice, why, and whether a person should look."""
    if not within:
        best = min(every, key=_leak)
        reason = (
            f"No epoch is within bounds; {_named(best)} leaks least ({'; '.join(beyond(best, options))}). "
            "Look at the grid: fewer epochs, a lower rank or more style screenshots usually help."
        )
        return best, reason, True
    measured = [(one, one.identity) for one in within if one.identity]
    if not measured:
        best = within[-1]
        reason = (
            "Identity could not be measured: no trait that the tagger knows was taken out of the captions. "
            f"{_named(best)} is the last one within bounds."
        )
        return best, reason, True
    best, identity = max(measured, key=lambda pair: (pair[1].low, -int(pair[0].epoch), -pair[0].weight))
    reason = (
        f"{_named(best)} has the highest lower bound of identity ({identity.low:.2f}) among the "
        f"{len(within)} of {len(every)} epochs and weights whose leak and copying are within bounds."
    )
    return best, reason, False


def _by_hand(every: Sequence[EpochFigures], ruled: EpochFigures, options: Judging) -> EpochFigures:
    """The one that a person names; where only an epoch or only a weight is named, the rest stays as the rule has it.

    Raises:
        GateError: it was not sampled.
    """
    epoch, weight = str(options.epoch or ruled.epoch), options.weight or ruled.weight
    found = next((one for one in every if (one.epoch, one.weight) == (epoch, weight)), None)
    if found is None:
        epochs, weights = (
            dict.fromkeys(texts) for texts in zip(*((e.epoch, f"{e.weight:g}") for e in every), strict=True)
        )
        raise GateError(
            f"judging: epoch {epoch} at weight {weight:g} was not sampled; epochs: {', '.join(epochs)}; weights: "
            f"{', '.join(weights)}"
        )
    return found


def _row(one: EpochFigures, best: EpochFigures, ruled: EpochFigures, options: Judging, *, by_hand: bool) -> Row:
    missed = "; ".join(beyond(one, options))
    if one is best:
        reason = "chosen by hand" if by_hand else "chosen"
        reason += f", though {missed}" if missed else ""
    elif missed:
        reason = missed
    else:
        reason = "what the rule takes" if one is ruled else _behind(one, ruled)
    return Row(epoch=one.epoch, weight=one.weight, within_bounds=not missed, chosen=one is best, reason=reason)


def _behind(one: EpochFigures, ruled: EpochFigures) -> str:
    """Why it is not the one that the rule takes."""
    if one.identity is None or ruled.identity is None:
        return "identity was not measured"
    if one.identity.low == ruled.identity.low:
        return "as good, but a later epoch" if int(one.epoch) > int(ruled.epoch) else "as good, but a higher weight"
    return f"lower bound of identity {one.identity.low:.2f}"


def _leak(figures: EpochFigures) -> float:
    return figures.leak.mean if figures.leak else 0.0


def _named(figures: EpochFigures) -> str:
    return f"Epoch {figures.epoch} at weight {figures.weight:g}"
