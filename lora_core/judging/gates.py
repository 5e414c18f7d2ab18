"""Checks between steps: their results, where they are kept, and the comparison with the last published version."""

import json
from collections.abc import Iterator, Sequence

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.judging import metrics
from lora_core.judging.bootstrap import Score
from lora_core.judging.measure import EpochMetrics
from lora_core.judging.metrics import Metric
from lora_core.recipe import Publish
from lora_core.refs import ReportRef
from lora_core.store import Store


class GateResult(Frozen):
    """One check: a value, its bound, and what to do when it was not passed."""

    name: str
    passed: bool
    figure: float | None = Field(description="None: it could not be measured, which bars nothing.")
    bound: float
    at_least: bool = Field(description="Whether the value must be at least the bound (else at most).")
    meaning: str = Field(description="What the value is, in words.")
    advice: str = Field(description="What usually helps when the check is not passed.")
    details: tuple[str, ...] = Field(default=(), description="What the value is made of, for a person.")
    counted: bool = Field(default=False, description="The value is a number of what must not be there at all.")

    @property
    def line(self) -> str:
        """The result in one line."""
        if self.figure is None:
            return f"{self.name}: not measured ({self.meaning})"
        if self.counted:
            return f"{self.name}: {_number(self.figure)} {self.meaning}"
        side = "at least" if self.at_least else "at most"
        return f"{self.name}: {self.meaning} {_number(self.figure)}, {side} {self.bound:g}"

    @property
    def story(self) -> str:
        """The line, and what usually helps if the check was not passed."""
        return self.line if self.passed else f"{self.line}; {self.advice}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else f"{value:.3f}"


GATE_FILE = "gate.json"


def with_gates(store: Store, drawn: ReportRef | None, gates: Sequence[GateResult]) -> ReportRef:
    """A check's pictures with what was measured; None: there are no pictures."""
    files = store.tree(drawn.sha256) if drawn else {}
    found = [
        {**gate.model_dump(mode="json", exclude=set() if gate.counted else {"counted"}), "line": gate.line}
        for gate in gates
    ]
    return ReportRef(sha256=store.put_tree({**files, GATE_FILE: store.path(store.put_json(found))}))


def read_gates(store: Store, check: ReportRef) -> tuple[GateResult, ...]:
    """What a check measured."""
    found = json.loads(store.tree(check.sha256)[GATE_FILE].read_bytes())
    return tuple(
        GateResult.model_validate({name: value for name, value in one.items() if name != "line"}) for one in found
    )


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
            name=f"compared with {name}", passed=True, figure=None, bound=0, at_least=True, meaning=meaning, advice=""
        )
    sign = 1 if metric.higher_is_better else -1
    beyond = round(sign * (old.mean - new.mean) - tolerance, 9) > 0  # 0.9 - 0.85 is a little more than 0.05
    apart = new.high < old.low if sign > 0 else new.low > old.high
    return GateResult(
        name=f"compared with {name}",
        passed=not (beyond and apart),
        figure=new.mean,
        bound=round(old.mean - sign * tolerance, 6),
        at_least=sign > 0,
        meaning=metric.label,
        advice=f"{name} stays the last published version; more or better screenshots help, or another seed. The bounds "
        "are [publish] worse_identity and worse_leak; [gates] successor = 'off' publishes all the same",
        details=("may be chance: the two intervals overlap",) if beyond and not apart else (),
    )
