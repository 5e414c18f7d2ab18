"""A LoRA that was trained again takes its predecessor's place when it is not worse beyond bounds and chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import epoch as _metrics
from scored import score

from lora_core.judging.bootstrap import Score
from lora_core.judging.gates import GateResult, successor_gates
from lora_core.judging.measure import EpochMetrics
from lora_core.recipe import Publish


def _score(mean: float, half_width: float = 0.01) -> Score:
    return score(mean, half_width)


def _gates(before: EpochMetrics, after: EpochMetrics, bound: float = 0.05) -> list[GateResult]:
    return list(successor_gates(before, after, "momo", Publish(worse_identity=bound, worse_leak=bound)))


def test_what_is_better_in_everything_takes_over() -> None:
    before = _metrics(identity=_score(0.5), leak=_score(0.2), copying=_score(0.1))
    after = _metrics(identity=_score(0.7), leak=_score(0.1), copying=_score(0.0))
    gates = _gates(before, after)
    assert all(gate.passed for gate in gates)
    assert gates[0].line == "compared with momo: identity 0.700, at least 0.45"
    assert gates[1].line == "compared with momo: leak of the look 0.100, at most 0.25"


@pytest.mark.parametrize(
    ("before", "after", "takes_over"),
    [
        (_metrics(identity=_score(0.50)), _metrics(identity=_score(0.46)), True),  # within the bound
        (_metrics(identity=_score(0.90)), _metrics(identity=_score(0.85)), True),  # at the bound
        (_metrics(identity=_score(0.50)), _metrics(identity=_score(0.40)), False),
        (_metrics(identity=_score(0.50, 0.2)), _metrics(identity=_score(0.40, 0.2)), True),  # may be chance
        (_metrics(leak=_score(0.10)), _metrics(leak=_score(0.20)), False),
        (_metrics(dataset_bias=_score(0.10)), _metrics(dataset_bias=_score(0.20)), False),
        (_metrics(background=_score(0.10)), _metrics(background=_score(0.14)), True),
        (_metrics(copying=_score(0.00)), _metrics(copying=_score(0.50)), False),
    ],
)
def test_one_metric_decides_by_its_bound_and_its_interval(
    before: EpochMetrics, after: EpochMetrics, takes_over: bool
) -> None:
    assert all(gate.passed for gate in _gates(before, after)) is takes_over


def test_a_difference_that_may_be_chance_is_said_to_be_one() -> None:
    (identity, *_) = _gates(_metrics(identity=_score(0.5, 0.2)), _metrics(identity=_score(0.4, 0.2)))
    assert identity.details == ("may be chance: the two intervals overlap",)


def test_one_bad_score_among_good_ones_is_enough_to_stay_with_the_old() -> None:
    before = _metrics(identity=_score(0.5), leak=_score(0.1))
    after = _metrics(identity=_score(0.9), leak=_score(0.4))
    (worse,) = (gate for gate in _gates(before, after) if not gate.passed)
    assert worse.meaning == "leak of the look"
    assert "momo stays the last published version" in worse.story


def test_what_only_one_of_them_has_is_named_and_bars_nothing() -> None:
    gates = _gates(_metrics(identity=_score(0.5)), _metrics(leak=_score(0.9)))
    assert all(gate.passed and gate.figure is None for gate in gates)
    assert gates[0].line == "compared with momo: not measured (identity: one of the two has no such score)"


@given(st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 1))
def test_nothing_is_worse_than_itself_whatever_the_bounds(mean: float, half_width: float, bound: float) -> None:
    same = _metrics(identity=_score(mean, half_width), leak=_score(mean, half_width))
    assert all(gate.passed for gate in _gates(same, same, bound))
