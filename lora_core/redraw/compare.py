"""The LoRA before and after redrawing: which is published, and the figures of both."""

from collections.abc import Sequence

from lora_core.judging.choice import THOUGH
from lora_core.judging.gates import GateResult
from lora_core.judging.metrics import IDENTITY, LEAK, headlines
from lora_core.judging.verdict import JudgedEpoch, Verdict


def best_of(verdicts: Sequence[Verdict]) -> int:
    """Number of the verdict whose chosen epoch is best, by the rule that chooses epochs; ties go to the later LoRA.

    A choice by hand counts for the last one alone, and is not overruled.

    Args:
        verdicts: of the first LoRA, then of each round's.
    """
    if verdicts[-1].choice.by_hand:
        return len(verdicts) - 1
    return max(range(len(verdicts)), key=lambda number: (*_worth(verdicts[number].chosen), number))


def _worth(row: JudgedEpoch) -> tuple[bool, float]:
    """Within bounds goes first; then the lower end of identity, or the smaller leak where nothing is within."""
    identity, leak = row.metrics.score(IDENTITY), row.metrics.score(LEAK)
    if row.ruling.within_bounds:
        return True, identity.low if identity else 0.0
    return False, -leak.mean if leak else 0.0


def comparison(verdicts: Sequence[Verdict]) -> GateResult:
    """All LoRAs side by side, and which is published."""
    best, names = best_of(verdicts), _names(verdicts)
    identity = verdicts[best].chosen.metrics.score(IDENTITY)
    return GateResult(
        name="redraw",
        passed=best > 0,
        figure=round(identity.mean, 2) if identity else None,
        bound=0,
        at_least=True,
        counted=True,
        meaning=f"is the identity {names[best]}, which is published" if identity else f"{names[best]} is published",
        advice=_why_before(verdicts[best].chosen, verdicts[-1].chosen),
        details=tuple(f"{name}: {_scores(each.chosen)}" for name, each in zip(names, verdicts, strict=True)),
    )


def _why_before(published: JudgedEpoch, last: JudgedEpoch) -> str:
    """Why a LoRA before the last is published: more of the character is no reason to publish the look."""
    less, more = published.metrics.score(IDENTITY), last.metrics.score(IDENTITY)
    if last.ruling.within_bounds or not (less and more and more.low > less.low):
        return "redrawing made it no better"
    missed = last.ruling.reason.partition(THOUGH)[2]
    return (
        f"the last one shows more of the character, but is not within bounds ({missed}); if that may be the tagger's "
        f"error, publish it by [judging] epoch = {last.metrics.epoch} and weight = {last.metrics.weight:g}, and look "
        "at its grid"
    )


def _names(verdicts: Sequence[Verdict]) -> list[str]:
    if len(verdicts) == 2:
        return ["before redrawing", "after redrawing"]
    return ["before redrawing", *(f"after round {number}" for number in range(1, len(verdicts)))]


def _scores(row: JudgedEpoch) -> str:
    one = row.metrics
    scores = [f"{metric.label} {metric.text(score)}" for metric in headlines() if (score := one.score(metric))]
    return ", ".join((f"epoch {one.epoch} at {one.weight:g}", *scores))
