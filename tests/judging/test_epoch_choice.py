"""The rule: within bounds the highest lower bound of identity, ties to the earlier epoch; a person stands above it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.errors import GateError
from lora_core.judging.bootstrap import Figure
from lora_core.judging.epoch import choose_epoch
from lora_core.judging.scores import EpochFigures, Figures, Without
from lora_core.recipe import Judging

OPTIONS = Judging(max_leak=0.25)


def figure(mean: float, low: float | None = None) -> Figure:
    return Figure(mean=mean, low=mean - 0.1 if low is None else low, high=mean + 0.1, samples=6)


def column(
    epoch: int, identity: Figure | None, leak: Figure | None, weight: float = 1.0, **others: Figure | None
) -> EpochFigures:
    measured = dict.fromkeys(("background", "habits", "obedience", "copying", "nearest", "diversity"))
    return EpochFigures(
        epoch=str(epoch), weight=weight, file=f"A-{epoch:06d}.safetensors", identity=identity, leak=leak,
        **{**measured, **others},
    )  # fmt: skip


def table(*columns: EpochFigures) -> Figures:
    return Figures(
        epochs=columns,
        without=Without(obedience=None, diversity=None, copying=None),
        traits=(),
        habits=(),
        look_tags=(),
        not_measured=("halo",),
    )


def figures(*rows: tuple[Figure | None, Figure | None]) -> Figures:
    return table(*(column(number, *row) for number, row in enumerate(rows, start=1)))


def test_the_highest_lower_bound_wins_not_the_highest_mean() -> None:
    choice = choose_epoch(figures((figure(0.5, 0.45), figure(0.1)), (figure(0.6, 0.3), figure(0.1))), OPTIONS)
    assert (choice.epoch, choice.file, choice.flagged) == ("1", "A-000001.safetensors", False)
    assert "0.45" in choice.reason
    assert "2 of 2 epochs" in choice.reason
    assert [row.reason for row in choice.table] == ["chosen", "lower bound of identity 0.30"]


def test_an_epoch_that_leaks_is_not_chosen_however_much_like_the_character() -> None:
    choice = choose_epoch(figures((figure(0.3), figure(0.25)), (figure(0.9), figure(0.26))), OPTIONS)
    assert choice.epoch == "1"
    assert [row.within_bounds for row in choice.table] == [True, False]
    assert [row.chosen for row in choice.table] == [True, False]
    assert choice.table[1].reason == "leak of the look 0.26, at most 0.25"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("background", "leak of the background 0.30, at most 0.25"),
        ("habits", "leak of framing and pose 0.30, at most 0.25"),
        ("copying", "share of copies 0.30, at most 0.10"),
        ("copying_cosine", "share of copies by the embedder 0.30, at most 0.10"),
    ],
)
def test_every_kind_of_leak_and_copying_has_a_bound_of_its_own(what: str, reason: str) -> None:
    better = column(2, figure(0.9), figure(0.1), **{what: figure(0.3)})
    choice = choose_epoch(table(column(1, figure(0.3), figure(0.1)), better), OPTIONS)
    assert choice.epoch == "1"
    assert choice.table[1].reason == reason


def test_ties_go_to_the_earlier_epoch_and_then_to_the_lower_weight() -> None:
    same = (figure(0.5), figure(0.1))
    assert choose_epoch(figures((figure(0.1), figure(0.1)), same, same), OPTIONS).epoch == "2"
    choice = choose_epoch(table(column(1, *same, weight=1.0), column(1, *same, weight=0.6), column(2, *same)), OPTIONS)
    assert (choice.epoch, choice.weight) == ("1", 0.6)
    assert [row.reason for row in choice.table] == [
        "as good, but a higher weight",
        "chosen",
        "as good, but a later epoch",
    ]


def test_when_all_leak_the_least_leak_is_taken_and_flagged() -> None:
    choice = choose_epoch(figures((figure(0.9), figure(0.8)), (figure(0.1), figure(0.4))), OPTIONS)
    assert (choice.epoch, choice.flagged, choice.passed) == ("2", True, False)
    assert "0.40" in choice.reason
    assert choice.table[1].reason == "chosen, though leak of the look 0.40, at most 0.25"


def test_without_identity_the_last_epoch_within_bounds_is_taken_and_flagged() -> None:
    choice = choose_epoch(figures((None, figure(0.1)), (None, figure(0.2)), (None, figure(0.9))), OPTIONS)
    assert (choice.epoch, choice.flagged, choice.passed) == ("2", True, True)


def test_an_unmeasured_leak_bars_nothing_and_is_flagged() -> None:
    choice = choose_epoch(figures((figure(0.1), None), (figure(0.5), None)), OPTIONS)
    assert (choice.epoch, choice.flagged, choice.not_measured) == ("2", True, ("halo",))
    assert "not measured" in choice.reason


def test_a_person_overrules_the_rule_and_the_table_still_says_what_it_takes() -> None:
    seen = figures((figure(0.5), figure(0.1)), (figure(0.9), figure(0.8)))
    choice = choose_epoch(seen, OPTIONS.model_copy(update={"epoch": 2}))
    assert (choice.epoch, choice.by_hand, choice.flagged) == ("2", True, False)
    assert choice.reason.startswith("Epoch 2 at weight 1 was chosen by hand. By the rule: Epoch 1")
    assert [row.reason for row in choice.table] == [
        "what the rule takes",
        "chosen by hand, though leak of the look 0.80, at most 0.25",
    ]


def test_a_person_may_name_the_weight_alone() -> None:
    good = (figure(0.5), figure(0.1))
    seen = table(column(1, *good, weight=0.6), column(1, figure(0.4), figure(0.1), weight=1.0))
    choice = choose_epoch(seen, OPTIONS.model_copy(update={"weight": 1.0}))
    assert (choice.epoch, choice.weight) == ("1", 1.0)


def test_an_epoch_that_was_not_sampled_cannot_be_taken() -> None:
    with pytest.raises(GateError, match=r"epoch 7 at weight 1 was not sampled; epochs: 1, 2; weights: 1"):
        choose_epoch(figures((figure(0.1), None), (figure(0.1), None)), OPTIONS.model_copy(update={"epoch": 7}))


def test_no_epoch_at_all_is_an_error() -> None:
    with pytest.raises(GateError, match="no epoch"):
        choose_epoch(table(), OPTIONS)


SHARES = st.integers(0, 100).map(lambda percent: percent / 100)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=8))
def test_whatever_the_figures_the_choice_is_within_bounds_if_anything_is(data: list[tuple[float, float]]) -> None:
    choice = choose_epoch(figures(*((figure(identity), figure(leak)) for identity, leak in data)), OPTIONS)
    (chosen,) = [row for row in choice.table if row.chosen]
    within = [identity for identity, leak in data if leak <= 0.25]
    assert chosen.within_bounds == bool(within) == choice.passed
    if within:
        assert data[int(chosen.epoch) - 1][0] == max(within)
        assert int(chosen.epoch) - 1 == next(n for n, (i, leak) in enumerate(data) if leak <= 0.25 and i == max(within))
