"""Which epoch ships, at which weight: one stated rule, and a person above it."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.errors import GateError
from lora_core.judging import metrics
from lora_core.judging.measure import EpochMetrics, Measurements
from lora_core.judging.metrics import IDENTITY, LEAK
from lora_core.recipe import Judging

RULE = (
    "Among the epochs × weights whose leak, copying, prompt adherence and diversity are within bounds, the one with "
    "the highest lower end of identity; ties go to the earlier epoch, then to the lower weight."
)
THOUGH = ", though "
"""In the reason of an epoch that was taken, before the bounds that it misses."""
Edge = Literal["last epoch", "highest weight", "lowest weight"]


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
    bounds: Mapping[str, float] = Field(description="By metric; a share of the base's own, multiplied out.")
    edges: tuple[Edge, ...] = Field(default=(), description="Where the choice is the last that was drawn.")
    table: tuple[Ruling, ...]

    @property
    def passed(self) -> bool:
        """Whether anything is within bounds."""
        return any(row.within_bounds for row in self.table)


def choose_epoch(measured: Measurements, options: Judging) -> Choice:
    """`RULE`, or what the options say by hand.

    If nothing is within bounds, what leaks least is taken and flagged; if no trait could be measured, the last one
    within bounds is taken and flagged. Where the look cannot be measured, nothing is within bounds: a person decides.

    Raises:
        GateError: there is no epoch, or not the one that the options name.
    """
    every, bounds = measured.epochs, _bounds(options, measured)
    if not every:
        raise GateError("no epoch was sampled; sample the epochs before judging them")
    ruled, reason, flagged = _by_rule(measured, bounds)
    best, by_hand = _by_hand(every, ruled, options), bool(options.epoch or options.weight)
    if by_hand:
        reason = f"{_named(best)} was chosen by hand. By the rule: {reason}"
    return Choice(
        epoch=best.epoch,
        weight=best.weight,
        file=best.file,
        reason=reason,
        by_hand=by_hand,
        flagged=flagged and not by_hand,
        edges=_edges(every, best),
        bounds=bounds,
        table=tuple(_ruling(one, best, ruled, bounds, by_hand=by_hand) for one in every),
    )


def _bounds(options: Judging, measured: Measurements) -> dict[str, float]:
    """By metric. One that is a share of the base's own has none where the base has no score."""
    found = {metric.key: metric.bound(options) for metric in metrics.METRICS if metric.bound and not metric.of_base}
    for metric in metrics.METRICS:
        if metric.bound and metric.of_base and metric.key in measured.base:
            found[metric.key] = round(metric.bound(options) * measured.base[metric.key].mean, 6)
    return found


def _missed(one: EpochMetrics, bounds: Mapping[str, float]) -> str:
    """The bounds that are missed, in words; what was not measured misses none, unless it has to be."""
    lines = (metric.missed(one.score(metric), bounds.get(metric.key)) for metric in metrics.METRICS)
    return "; ".join(line for line in lines if line)


def _by_rule(measured: Measurements, bounds: Mapping[str, float]) -> tuple[EpochMetrics, str, bool]:
    """The choice, why, and whether a person should look."""
    every = measured.epochs
    if not any(one.score(LEAK) for one in every):
        return _blind(measured, bounds)
    within = [one for one in every if not _missed(one, bounds)]
    if not within:
        best = min(every, key=_leak)
        reason = (
            f"No epoch is within bounds; {_named(best)} leaks least ({_missed(best, bounds)}). "
            f"{_unsure(best, bounds)}Look at the grid; a lower weight or an earlier epoch may do, else captions that "
            "name the look, or redraw (docs/judging.md: It leaks, what now?). More prompts and seeds make the "
            "intervals narrower."
        )
        return best, reason, True
    known = [one for one in within if one.score(IDENTITY)]
    if not known:
        best = within[-1]
        reason = (
            "Identity could not be measured: no trait that the tagger knows was taken out of the captions. "
            f"{_named(best)} is the last one within bounds."
        )
        return best, reason, True
    best = max(known, key=_by_identity)
    reason = (
        f"{_named(best)} has the highest lower end of identity ({IDENTITY.format(_by_identity(best)[0])}) among the "
        f"{len(within)} of {len(every)} epochs and weights that are within bounds."
    )
    return best, reason, False


def _unsure(one: EpochMetrics, bounds: Mapping[str, float]) -> str:
    """A sentence on a leak whose interval holds the bound; empty: it leaks for sure, or not."""
    leak = one.score(LEAK)
    if leak is None or not leak.low <= bounds[LEAK.key] < leak.high:
        return ""
    return (
        "Its interval holds the bound, so these pictures cannot tell whether the look came along: it may be clean, and "
        "[judging] epoch and weight say so by hand; a [judging] classifier may see it better. "
    )


def _blind(measured: Measurements, bounds: Mapping[str, float]) -> tuple[EpochMetrics, str, bool]:
    """What is proposed to a person where nothing sees the look."""
    others = {key: bound for key, bound in bounds.items() if key != LEAK.key}
    within = [one for one in measured.epochs if not _missed(one, others)] or list(measured.epochs)
    known = [one for one in within if one.score(IDENTITY)]
    best = max(known, key=_by_identity) if known else within[-1]
    seen = ", ".join(f"{one.name} {one.base:.2f} and {one.screenshots:.2f}" for one in measured.look)
    told = f" (in the base's own pictures and in the screenshots: {seen})" if seen else ""
    reason = (
        f"The 3D look cannot be measured with this tagger: it does not see it in the screenshots{told}. Whether it "
        f"came along is for your eyes: look at the grid. {_named(best)} would be taken; [judging] epoch and weight "
        "say so by hand, and a [judging] classifier can measure the look."
    )
    return best, reason, True


def _by_identity(one: EpochMetrics) -> tuple[float, int, float]:
    """What the rule goes by: lower end, then the earlier epoch, then the lower weight."""
    identity = one.score(IDENTITY)
    return (identity.low if identity else -math.inf), -int(one.epoch), -one.weight


def _edges(every: Sequence[EpochMetrics], best: EpochMetrics) -> tuple[Edge, ...]:
    """Where nothing beyond the choice was drawn, so that the best may lie there."""
    epochs, weights = {int(one.epoch) for one in every}, {one.weight for one in every}
    found: dict[Edge, bool] = {
        "last epoch": len(epochs) > 1 and int(best.epoch) == max(epochs),
        "highest weight": len(weights) > 1 and best.weight == max(weights),
        "lowest weight": len(weights) > 1 and best.weight == min(weights),
    }
    return tuple(edge for edge, there in found.items() if there)


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
        reason += f"{THOUGH}{missed}" if missed else ""
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
    return f"lower end of identity {IDENTITY.format(identity.low)}"


def _leak(one: EpochMetrics) -> float:
    leak = one.score(LEAK)
    return leak.mean if leak else 0.0


def _named(one: EpochMetrics) -> str:
    return f"Epoch {one.epoch} at weight {one.weight:g}"
