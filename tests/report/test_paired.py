"""Differences between two LoRAs, pair by pair."""

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from lora_core.judging.measure import PictureScores
from lora_core.report.compare import differences
from lora_core.store.digests import digest_of


def picture(prompt: int, seed: int, base: str = "base", **values: float) -> PictureScores:
    return PictureScores(
        prompt_index=prompt, seed=seed, base=digest_of(f"{base}/{prompt}/{seed}".encode()), values=values
    )


def test_what_a_prompt_does_by_itself_cancels_out() -> None:
    # One prompt lies .8 above the other, and so does each LoRA's identity; between the two LoRAs there is always .1.
    one = [picture(p, s, identity=0.8 * p) for p in (0, 1) for s in (1, 2)]
    other = [picture(p, s, identity=0.8 * p + 0.1) for p in (0, 1) for s in (1, 2)]
    found = differences(one, other)["identity"]
    assert (found.mean, found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.1))
    assert found.samples == 4


def test_prompts_count_alike_and_the_interval_spans_what_prompts_differ_by() -> None:
    one = [picture(0, seed, leak=0.0) for seed in (1, 2, 3)] + [picture(1, 1, leak=0.0)]
    other = [picture(0, seed, leak=0.3) for seed in (1, 2, 3)] + [picture(1, 1, leak=0.1)]
    found = differences(one, other)["leak"]
    # The mean of the prompts' means, not of the four pictures; either prompt may be drawn twice.
    assert found.mean == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.3))


def test_only_what_both_drew_from_the_same_is_a_pair() -> None:
    one = [picture(0, 1, leak=0.1), picture(0, 2, leak=0.9)]
    other = [picture(0, 1, leak=0.4), picture(0, 2, base="another base", leak=0.0), picture(0, 3, leak=0.0)]
    found = differences(one, other)["leak"]
    assert (found.mean, found.samples) == (pytest.approx(0.3), 1)
    assert differences(one, [picture(0, 1, base="another base", leak=0.4)]) == {}


def test_a_metric_that_one_of_the_two_lacks_is_left_out() -> None:
    one, other = [picture(0, 1, leak=0.1, identity=0.5)], [picture(0, 1, leak=0.2)]
    assert set(differences(one, other)) == {"leak"}


VALUES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(0, 1), st.floats(0, 1)),
    min_size=1,
    max_size=10,
    unique_by=lambda row: row[:2],
)


@examples(10)  # every new set of places is resampled 2,000 times
@given(VALUES)
def test_the_other_way_round_it_is_the_negative(rows: list[tuple[int, int, float, float]]) -> None:
    one = [picture(prompt, seed, copying=value) for prompt, seed, value, _ in rows]
    other = [picture(prompt, seed, copying=value) for prompt, seed, _, value in rows]
    there, back = differences(one, other)["copying"], differences(other, one)["copying"]
    assert (there.mean, there.low, there.high) == (
        pytest.approx(-back.mean), pytest.approx(-back.high), pytest.approx(-back.low),
    )  # fmt: skip
    assert differences(one, one)["copying"].mean == 0
