"""Which epoch ships, and at which weight: one stated rule, a table that shows why, and a person above it."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.errors import GateError
from lora_core.judging import metrics
from lora_core.judging.measure import EpochMetrics, Measurements
from lora_core.judging.metrics import IDENTITY, LEAK
from lora_core.recipe import Judging

RULE = (
    "Among the epochs × weights whose leak and copying are within bounds, the one with the highest lower bound of "
    "identity; ties go to the earlier epoch, then to the lower weight."
)


class Ruling(Frozen):
    """What the choice says of one epoch at one weight."""

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
    flagged: bool = Field(description="A person should look: nothing is within bounds, or a metric is missing.")
    bounds: Mapping[str, float] = Field(description="By metric, as the options have them.")
    table: tuple[Ruling, ...]

    @property
    def passed(self) -> bool:
        """Whether anything is within bounds."""
        return any(row.within_bounds for row in self.table)


def choose_epoch(measured: Measurements, options: Judging) -> Choice:
    """`RULE`, or what the options say by hand.

    If nothing is within bounds, what leaks least is taken and flagged; if no trait could be measured, the last one
    within bounds is taken and flagged.

    Raises:
        GateError: there is no epoch, or not the one that the options name.
    """
    every, bounds = measured.epochs, _bounds(options)
    if not every:
        raise GateError("no epoch was sampled; sample the epochs before judging them")
    ruled, reason, flagged = _by_rule(every, bounds)
    best, by_hand = _by_hand(every, ruled, options), bool(options.epoch or options.weight)
    if by_hand:
        reason = f"{_named(best)} was chosen by hand. By the rule: {reason}"
    if best.score(LEAK) is None:
        reason += " The 3D look was not measured: the tagger knows none of its tags."
    return Choice(
        epoch=best.epoch,
        weight=best.weight,
        file=best.file,
        reason=reason,
        by_hand=by_hand,
        flagged=(flagged and not by_hand) or best.score(LEAK) is None,
        bounds=bounds,
        table=tuple(_ruling(one, best, ruled, bounds, by_hand=by_hand) for one in every),
    )


def _bounds(options: Judging) -> dict[str, float]:
    return {metric.key: metric.bound(options) for metric in metrics.METRICS if metric.bound}


def _missed(one: EpochMetrics, bounds: Mapping[str, float]) -> str:
    """The bounds that are missed, in words; what was not measured misses none."""
    lines = (metric.missed(one.score(metric), bounds.get(metric.key)) for metric in metrics.METRICS)
    return "; ".join(line for line in lines if line)


def _by_rule(every: Sequence[EpochMetrics], bounds: Mapping[str, float]) -> tuple[EpochMetrics, str, bool]:
    """The choice, why, and whether a person should look."""
    within = [one for one in every if not _missed(one, bounds)]
    if not within:
        best = min(every, key=_leak)
        reason = (
            f"No epoch is within bounds; {_named(best)} leaks least ({_missed(best, bounds)}). "
            "Look at the grid: fewer epochs, a lower rank or more style screenshots usually help."
        )
        return best, reason, True
    measured = [(one, identity) for one in within if (identity := one.score(IDENTITY))]
    if not measured:
        best = within[-1]
        reason = (
            "Identity could not be measured: no trait that the tagger knows was taken out of the captions. "
            f"{_named(best)} is the last one within bounds."
        )
        return best, reason, True
    best, identity = max(measured, key=lambda pair: (pair[1].low, -int(pair[0].epoch), -pair[0].weight))
    reason = (
        f"{_named(best)} has the highest lower bound of identity ({IDENTITY.format(identity.low)}) among the "
        f"{len(within)} of {len(every)} epochs and weights whose leak and copying are within bounds."
    )
    return best, reason, False


def _by_hand(every: Sequence[EpochMetrics], ruled: EpochMetrics, options: Judging) -> EpochMetrics:
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


def _ruling(
    one: EpochMetrics, best: EpochMetrics, ruled: EpochMetrics, bounds: Mapping[str, float], *, by_hand: bool
) -> Ruling:
    missed = _missed(one, bounds)
    if one is best:
        reason = "chosen by hand" if by_hand else "chosen"
        reason += f", though {missed}" if missed else ""
    elif missed:
        reason = missed
    else:
        reason = "what the rule takes" if one is ruled else _why_not(one, ruled)
    return Ruling(epoch=one.epoch, weight=one.weight, within_bounds=not missed, chosen=one is best, reason=reason)


def _why_not(one: EpochMetrics, ruled: EpochMetrics) -> str:
    """Why it is not the one that the rule takes."""
    identity, better = one.score(IDENTITY), ruled.score(IDENTITY)
    if identity is None or better is None:
        return "identity was not measured"
    if identity.low == better.low:
        return "as good, but a later epoch" if int(one.epoch) > int(ruled.epoch) else "as good, but a higher weight"
    return f"lower bound of identity {IDENTITY.format(identity.low)}"


def _leak(one: EpochMetrics) -> float:
    leak = one.score(LEAK)
    return leak.mean if leak else 0.0


def _named(one: EpochMetrics) -> str:
    return f"Epoch {one.epoch} at weight {one.weight:g}"
