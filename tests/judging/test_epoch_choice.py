"""The rule: within bounds the highest lower end of identity, ties to the earlier epoch; a person stands above it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import epoch, measurements, score

from lora_core.errors import GateError
from lora_core.judging.bootstrap import Score
from lora_core.judging.choice import choose_epoch
from lora_core.judging.leak import LookWord
from lora_core.judging.measure import Measurements
from lora_core.recipe import Judging

OPTIONS = Judging(max_leak=0.25)


def table(*rows: tuple[Score | None, Score | None]) -> Measurements:
    """Identity, and leak without any doubt, epoch by epoch."""
    sure = [(identity, leak and score(leak.mean, 0)) for identity, leak in rows]
    return measurements(epoch(n, identity=identity, leak=leak) for n, (identity, leak) in enumerate(sure, start=1))


def test_the_highest_lower_bound_wins_not_the_highest_mean() -> None:
    choice = choose_epoch(table((score(0.5, low=0.45), score(0.1)), (score(0.6, low=0.3), score(0.1))), OPTIONS)
    assert (choice.epoch, choice.file, choice.flagged) == ("1", "A-000001.safetensors", False)
    assert "0.45" in choice.reason
    assert "2 of 2 epochs" in choice.reason
    assert [row.reason for row in choice.table] == ["chosen", "lower end of identity 0.30"]


def test_an_epoch_that_leaks_is_not_chosen_however_much_like_the_character() -> None:
    choice = choose_epoch(table((score(0.3), score(0.25)), (score(0.9), score(0.26))), OPTIONS)
    assert choice.epoch == "1"
    assert [row.within_bounds for row in choice.table] == [True, False]
    assert [row.chosen for row in choice.table] == [True, False]
    assert choice.table[1].reason == "leak of the look 0.26 (to 0.26), at most 0.25"


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("background", "leak of the background 0.30, at most 0.25"),
        ("dataset_bias", "leak of framing and pose 0.30, at most 0.25"),
        ("copying", "share of copies 0.30, at most 0.10"),
        ("copying_cosine", "share of copies by the embedder 0.30, at most 0.10"),
    ],
)
def test_every_kind_of_leak_and_copying_has_a_bound_of_its_own(what: str, reason: str) -> None:
    better = epoch(2, identity=score(0.9), leak=score(0.1), **{what: score(0.3)})
    choice = choose_epoch(measurements([epoch(1, identity=score(0.3), leak=score(0.1)), better]), OPTIONS)
    assert choice.epoch == "1"
    assert choice.table[1].reason == reason


def test_ties_go_to_the_earlier_epoch_and_then_to_the_lower_weight() -> None:
    same = (score(0.5), score(0.1))
    assert choose_epoch(table((score(0.1), score(0.1)), same, same), OPTIONS).epoch == "2"
    rows = [epoch(number, weight, identity=same[0], leak=same[1]) for number, weight in ((1, 1.0), (1, 0.6), (2, 1.0))]
    choice = choose_epoch(measurements(rows), OPTIONS)
    assert (choice.epoch, choice.weight) == ("1", 0.6)
    assert [row.reason for row in choice.table] == [
        "as good, but a higher weight",
        "chosen",
        "as good, but a later epoch",
    ]


def test_when_all_leak_the_least_leak_is_taken_and_flagged() -> None:
    choice = choose_epoch(table((score(0.9), score(0.8)), (score(0.1), score(0.4))), OPTIONS)
    assert (choice.epoch, choice.flagged, choice.passed) == ("2", True, False)
    assert "0.40" in choice.reason
    assert choice.table[1].reason == "chosen, though leak of the look 0.40 (to 0.40), at most 0.25"


def test_without_identity_the_last_epoch_within_bounds_is_taken_and_flagged() -> None:
    choice = choose_epoch(table((None, score(0.1)), (None, score(0.2)), (None, score(0.9))), OPTIONS)
    assert (choice.epoch, choice.flagged, choice.passed) == ("2", True, True)


def test_a_leak_that_cannot_be_measured_never_passes_and_a_person_is_asked() -> None:
    look = (LookWord(name="realistic", base=0.03, screenshots=0.06),)
    found = table((score(0.1), None), (score(0.5), None)).model_copy(update={"look": look})
    choice = choose_epoch(found, OPTIONS)
    assert (choice.epoch, choice.flagged, choice.passed) == ("2", True, False)
    assert "cannot be measured with this tagger" in choice.reason
    assert "realistic 0.03 and 0.06" in choice.reason
    assert choice.table[0].reason == "leak of the look cannot be measured"


def test_it_is_the_upper_end_of_the_leak_that_has_to_be_within_bounds() -> None:
    rows = [epoch(n, identity=score(0.5), leak=score(0.2, width)) for n, width in ((1, 0.06), (2, 0.05))]
    choice = choose_epoch(measurements(rows), OPTIONS)
    assert [row.within_bounds for row in choice.table] == [False, True]
    assert choice.table[0].reason == "leak of the look 0.20 (to 0.26), at most 0.25"


@pytest.mark.parametrize(("what", "least"), [("prompt_adherence", 0.63), ("diversity", 0.45)])
def test_a_burnt_epoch_is_not_chosen_however_much_like_the_character(what: str, least: float) -> None:
    """Adherence at least .7 of the base's own .9, diversity at least .5 of it."""
    good, burnt = ({"leak": score(0, 0), what: score(value)} for value in (least, least - 0.01))
    rows = [epoch(1, identity=score(0.3), **good), epoch(2, identity=score(0.9), **burnt)]
    choice = choose_epoch(measurements(rows, base={what: score(0.9)}), OPTIONS)
    assert (choice.epoch, choice.bounds[what]) == ("1", least)
    assert choice.table[1].reason.endswith(f"{least - 0.01:.2f}, at least {least:.2f}")


def test_a_choice_at_the_edge_of_what_was_drawn_says_so() -> None:
    def chosen(best: tuple[int, float]) -> tuple[str, ...]:
        every = [(number, weight) for number in (1, 2, 3) for weight in (0.6, 0.8, 1.0)]
        rows = [epoch(n, w, identity=score(0.9 if (n, w) == best else 0.2), leak=score(0, 0)) for n, w in every]
        return choose_epoch(measurements(rows), OPTIONS).edges

    assert chosen((2, 0.8)) == chosen((1, 0.8)) == ()
    assert chosen((3, 1.0)) == ("last epoch", "highest weight")
    assert chosen((2, 0.6)) == ("lowest weight",)
    assert choose_epoch(table((score(0.5), score(0))), OPTIONS).edges == ()


def test_a_person_overrules_the_rule_and_the_table_still_says_what_it_takes() -> None:
    found = table((score(0.5), score(0.1)), (score(0.9), score(0.8)))
    choice = choose_epoch(found, OPTIONS.model_copy(update={"epoch": 2}))
    assert (choice.epoch, choice.by_hand, choice.flagged) == ("2", True, False)
    assert choice.reason.startswith("Epoch 2 at weight 1 was chosen by hand. By the rule: Epoch 1")
    assert [row.reason for row in choice.table] == [
        "what the rule takes",
        "chosen by hand, though leak of the look 0.80 (to 0.80), at most 0.25",
    ]


def test_a_person_may_name_the_weight_alone() -> None:
    rows = [epoch(1, weight, identity=score(mean), leak=score(0.1)) for weight, mean in ((0.6, 0.5), (1.0, 0.4))]
    found = measurements(rows)
    choice = choose_epoch(found, OPTIONS.model_copy(update={"weight": 1.0}))
    assert (choice.epoch, choice.weight) == ("1", 1.0)


def test_an_epoch_that_was_not_sampled_cannot_be_taken() -> None:
    with pytest.raises(GateError, match=r"epoch 7 at weight 1 was not sampled; epochs: 1, 2; weights: 1"):
        choose_epoch(table((score(0.1), None), (score(0.1), None)), OPTIONS.model_copy(update={"epoch": 7}))


def test_no_epoch_at_all_is_an_error() -> None:
    with pytest.raises(GateError, match="no epoch"):
        choose_epoch(table(), OPTIONS)


SHARES = st.integers(0, 100).map(lambda percent: percent / 100)


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=8))
def test_whatever_the_scores_the_choice_is_within_bounds_if_anything_is(data: list[tuple[float, float]]) -> None:
    choice = choose_epoch(table(*((score(identity), score(leak)) for identity, leak in data)), OPTIONS)
    (chosen,) = [row for row in choice.table if row.chosen]
    within = [identity for identity, leak in data if leak <= 0.25]
    assert chosen.within_bounds == bool(within) == choice.passed
    if within:
        assert data[int(chosen.epoch) - 1][0] == max(within)
        assert int(chosen.epoch) - 1 == next(n for n, (i, leak) in enumerate(data) if leak <= 0.25 and i == max(within))
