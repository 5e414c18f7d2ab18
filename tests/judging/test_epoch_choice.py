"""The rule: within bounds the highest lower bound of identity, ties to the earlier epoch."""

import pytest

from lora_core.errors import GateError
from lora_core.judging.epoch import choose_epoch
from lora_core.judging.scores import EpochFigures, Figure, Figures
from lora_core.recipe import Judging

OPTIONS = Judging(max_leak=0.25)


def figure(mean: float, low: float | None = None) -> Figure:
    return Figure(mean=mean, low=mean - 0.1 if low is None else low, high=mean + 0.1, samples=6)


def figures(*rows: tuple[Figure | None, Figure | None]) -> Figures:
    return Figures(
        epochs=tuple(
            EpochFigures(
                epoch=str(number), file=f"A-{number:06d}.safetensors", identity=identity, leak=leak, traits=(), looks=()
            )
            for number, (identity, leak) in enumerate(rows, start=1)
        ),
        traits=(),
        look_tags=(),
        not_measured=("halo",),
    )


def test_the_highest_lower_bound_wins_not_the_highest_mean() -> None:
    choice = choose_epoch(figures((figure(0.5, 0.45), figure(0.1)), (figure(0.6, 0.3), figure(0.1))), OPTIONS)
    assert (choice.epoch, choice.file, choice.flagged) == ("1", "A-000001.safetensors", False)
    assert "0.45" in choice.reason
    assert "2 of 2 epochs" in choice.reason


def test_an_epoch_that_leaks_is_not_chosen_however_much_like_the_character() -> None:
    choice = choose_epoch(figures((figure(0.3), figure(0.25)), (figure(0.9), figure(0.26))), OPTIONS)
    assert choice.epoch == "1"
    assert [row.within_bounds for row in choice.table] == [True, False]
    assert [row.chosen for row in choice.table] == [True, False]


def test_ties_go_to_the_earlier_epoch() -> None:
    same = (figure(0.5), figure(0.1))
    assert choose_epoch(figures((figure(0.1), figure(0.1)), same, same), OPTIONS).epoch == "2"


def test_when_all_leak_the_least_leak_is_taken_and_flagged() -> None:
    choice = choose_epoch(figures((figure(0.9), figure(0.8)), (figure(0.1), figure(0.4))), OPTIONS)
    assert (choice.epoch, choice.flagged) == ("2", True)
    assert "0.40" in choice.reason


def test_without_identity_the_last_epoch_within_bounds_is_taken_and_flagged() -> None:
    choice = choose_epoch(figures((None, figure(0.1)), (None, figure(0.2)), (None, figure(0.9))), OPTIONS)
    assert (choice.epoch, choice.flagged) == ("2", True)


def test_an_unmeasured_leak_bars_nothing_and_is_flagged() -> None:
    choice = choose_epoch(figures((figure(0.1), None), (figure(0.5), None)), OPTIONS)
    assert (choice.epoch, choice.flagged, choice.not_measured) == ("2", True, ("halo",))
    assert "not measured" in choice.reason


def test_no_epoch_at_all_is_an_error() -> None:
    with pytest.raises(GateError, match="no epoch"):
        choose_epoch(figures(), OPTIONS)
