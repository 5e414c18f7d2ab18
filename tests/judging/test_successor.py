"""A LoRA that was trained again takes its predecessor's place when it is not worse beyond bounds and chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.judging.bootstrap import Figure
from lora_core.judging.scores import EpochFigures
from lora_core.judging.successor import Bounds, compare

BOUNDS = Bounds(identity=0.05, leak=0.05)


def _figure(mean: float, half_width: float = 0.01) -> Figure:
    return Figure(mean=mean, low=mean - half_width, high=mean + half_width, samples=8)


def _figures(**known: Figure | None) -> EpochFigures:
    nothing = dict.fromkeys(
        ("identity", "leak", "background", "habits", "obedience", "copying", "nearest", "diversity"), None
    )
    return EpochFigures(epoch="1", weight=0.8, file="a.safetensors", **(nothing | known))


def test_what_is_better_in_everything_takes_over() -> None:
    before = _figures(identity=_figure(0.5), leak=_figure(0.2), copying=_figure(0.1))
    after = _figures(identity=_figure(0.7), leak=_figure(0.1), copying=_figure(0.0))
    succession = compare(before, after, BOUNDS)
    assert succession.takes_over
    assert succession.compared[0].line == "identity 0.50 → 0.70: not worse"


@pytest.mark.parametrize(
    ("before", "after", "takes_over"),
    [
        (_figures(identity=_figure(0.50)), _figures(identity=_figure(0.46)), True),  # within the bound
        (_figures(identity=_figure(0.50)), _figures(identity=_figure(0.40)), False),
        (_figures(identity=_figure(0.50, 0.2)), _figures(identity=_figure(0.40, 0.2)), True),  # may be chance
        (_figures(leak=_figure(0.10)), _figures(leak=_figure(0.20)), False),
        (_figures(habits=_figure(0.10)), _figures(habits=_figure(0.20)), False),
        (_figures(background=_figure(0.10)), _figures(background=_figure(0.14)), True),
        (_figures(copying=_figure(0.00)), _figures(copying=_figure(0.50)), False),
    ],
)
def test_one_figure_decides_by_its_bound_and_its_interval(
    before: EpochFigures, after: EpochFigures, takes_over: bool
) -> None:
    assert compare(before, after, BOUNDS).takes_over is takes_over


def test_one_bad_figure_among_good_ones_is_enough_to_stay_with_the_old() -> None:
    before = _figures(identity=_figure(0.5), leak=_figure(0.1))
    after = _figures(identity=_figure(0.9), leak=_figure(0.4))
    succession = compare(before, after, BOUNDS)
    assert not succession.takes_over
    assert [one.name for one in succession.compared if one.worse] == ["leak of the look"]


def test_what_only_one_of_them_has_is_named_and_bars_nothing() -> None:
    succession = compare(_figures(identity=_figure(0.5)), _figures(leak=_figure(0.9)), BOUNDS)
    assert succession.takes_over
    assert succession.compared == ()
    assert set(succession.not_compared) >= {"identity", "leak of the look"}


@given(st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 1))
def test_nothing_is_worse_than_itself_whatever_the_bounds(mean: float, half_width: float, bound: float) -> None:
    same = _figures(identity=_figure(mean, half_width), leak=_figure(mean, half_width))
    assert compare(same, same, Bounds(identity=bound, leak=bound)).takes_over
