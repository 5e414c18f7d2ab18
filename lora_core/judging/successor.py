"""Is a LoRA that was trained again at least as good as the one it would follow?"""

from collections.abc import Iterator

from lora_core.judging import metrics
from lora_core.judging.bootstrap import Score
from lora_core.judging.gates import GateResult
from lora_core.judging.measure import EpochMetrics
from lora_core.judging.metrics import Metric
from lora_core.recipe import Publish


def successor_gates(before: EpochMetrics, after: EpochMetrics, name: str, options: Publish) -> Iterator[GateResult]:
    """Compare what was published last with what would be published now, by every metric with a tolerance.

    A metric counts as worse when its mean is beyond the tolerance *and* the two 95 % intervals do not overlap: a few
    samples tell no smaller difference apart from chance, and a retraining must not be held back by noise.

    Args:
        before: of the published epoch, at the published weight.
        after: of the new epoch, at its weight.
        name: of the published LoRA.
        options: how much worse is still good enough.
    """
    for metric in metrics.METRICS:
        if metric.tolerance:
            yield _gate(metric, before.score(metric), after.score(metric), metric.tolerance(options), name)


def _gate(metric: Metric, old: Score | None, new: Score | None, tolerance: float, name: str) -> GateResult:
    if old is None or new is None:
        meaning = f"{metric.label}: one of the two has no such score"
        return GateResult(
            name=f"beside {name}", passed=True, figure=None, bound=0, at_least=True, meaning=meaning, advice=""
        )
    sign = 1 if metric.higher_is_better else -1
    beyond = round(sign * (old.mean - new.mean) - tolerance, 9) > 0  # 0.9 - 0.85 is a little more than 0.05
    apart = new.high < old.low if sign > 0 else new.low > old.high
    return GateResult(
        name=f"beside {name}",
        passed=not (beyond and apart),
        figure=new.mean,
        bound=round(old.mean - sign * tolerance, 6),
        at_least=sign > 0,
        meaning=metric.label,
        advice=f"{name} stays the last published version; more or better screenshots help, or another seed. The bounds "
        "are [publish] worse_identity and worse_leak; [gates] successor = 'off' publishes all the same",
        details=("may be chance: the two intervals overlap",) if beyond and not apart else (),
    )
