"""Which LoRA is published: the one before redrawing or the one after."""

from scored import epoch, judged, score

from lora_core.judging.verdict import Verdict
from lora_core.recipe import Judging
from lora_core.redraw.compare import best_of, comparison


def _verdict(identity: float, leak: float = 0.0, options: Judging | None = None) -> Verdict:
    scores = {"identity": score(identity), "leak": score(leak), "copying": score(0.0)}
    return judged(epoch(1, 1.0, **scores), options=options)


def test_of_two_within_bounds_the_one_with_the_higher_lower_bound_of_identity_is_published() -> None:
    assert best_of([_verdict(0.4), _verdict(0.5)]) == 1
    assert best_of([_verdict(0.5), _verdict(0.4)]) == 0


def test_of_two_that_are_equal_the_redrawn_one_is_published() -> None:
    assert best_of([_verdict(0.4), _verdict(0.4)]) == 1


def test_one_that_leaks_too_much_never_goes_before_one_within_bounds() -> None:
    assert best_of([_verdict(0.9, leak=0.8), _verdict(0.2)]) == 1
    assert best_of([_verdict(0.2), _verdict(0.9, leak=0.8)]) == 0


def test_where_both_leak_too_much_the_one_that_leaks_less_is_published() -> None:
    assert best_of([_verdict(0.9, leak=0.5), _verdict(0.2, leak=0.4)]) == 1


def test_a_round_in_the_middle_can_be_the_best() -> None:
    assert best_of([_verdict(0.4), _verdict(0.6), _verdict(0.5)]) == 1


def test_a_choice_by_hand_is_not_overruled() -> None:
    assert best_of([_verdict(0.9), _verdict(0.1, options=Judging(epoch=1, weight=1.0))]) == 1


def test_the_figures_of_both_are_told_with_what_is_published() -> None:
    found = comparison([_verdict(0.4), _verdict(0.55)])
    assert found.passed
    assert found.line == "redraw: 0.550 is the identity after redrawing, which is published"
    assert [line.partition(", share")[0] for line in found.details] == [
        "before redrawing: epoch 1 at 1, identity 0.40 (0.30 to 0.50), leak of the look 0.00 (−0.10 to 0.10)",
        "after redrawing: epoch 1 at 1, identity 0.55 (0.45 to 0.65), leak of the look 0.00 (−0.10 to 0.10)",
    ]
    kept = comparison([_verdict(0.6), _verdict(0.55)])
    assert not kept.passed
    assert "before redrawing, which is published; redrawing made it no better" in kept.story


def test_a_redrawn_one_with_more_of_the_character_that_is_out_of_bounds_says_so_and_how_to_publish_it() -> None:
    story = comparison([_verdict(0.4), _verdict(0.8, leak=0.3)]).story
    assert "before redrawing, which is published; the last one shows more of the character, but is not" in story
    assert "within bounds (leak of the look 0.30 (to 0.40), at most 0.25)" in story
    assert "[judging] epoch = 1 and weight = 1, and look at its grid" in story
    assert comparison([_verdict(0.4), _verdict(0.3, leak=0.3)]).story.endswith("redrawing made it no better")
