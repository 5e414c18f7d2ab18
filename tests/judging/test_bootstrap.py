"""Intervals: by their properties, and against normal theory."""

import numpy as np
import pytest

from lora_core.judging.bootstrap import bootstrap, nested, resampled_weights, summary


def test_the_interval_is_the_same_every_time_and_narrows_with_more_samples() -> None:
    few, many = [0.0, 1.0] * 3, [0.0, 1.0] * 50
    assert bootstrap(few) == bootstrap(few)
    wide, narrow = bootstrap(few), bootstrap(many)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    # Normal theory for 100 values of standard deviation 0.5: 0.5 ± 1.96 · 0.05
    assert (narrow.low, narrow.high) == (pytest.approx(0.402, abs=0.02), pytest.approx(0.598, abs=0.02))


def test_equal_values_have_an_interval_of_no_width() -> None:
    figure = bootstrap([0.3] * 4)
    assert (figure.low, figure.high) == (pytest.approx(0.3), pytest.approx(0.3))


def test_what_differs_between_prompts_is_not_hidden_by_many_seeds() -> None:
    """Two prompts, 0 and 1, fifty seeds each: as one heap the mean looks certain, by prompts it is not."""
    values, prompts = [0.0] * 50 + [1.0] * 50, [(0,)] * 50 + [(1,)] * 50
    by_prompt, heap = nested(values, prompts), bootstrap(values)
    assert (by_prompt.mean, heap.mean) == pytest.approx((0.5, 0.5))
    assert (by_prompt.low, by_prompt.high) == pytest.approx((0.0, 1.0))
    assert heap.high - heap.low < 0.25


def test_prompts_count_alike_whatever_the_number_of_their_seeds() -> None:
    assert nested([0.0, 0.0, 0.0, 1.0], [(0,), (0,), (0,), (1,)]).mean == pytest.approx(0.5)


@pytest.mark.parametrize(("shown", "of"), [(n, of) for of in (20, 100, 140, 200, 300) for n in (19 * of // 20,)])
def test_a_share_is_what_counting_gives_to_the_last_bit(shown: int, of: int) -> None:
    """So that a gate at 95 % passes at 95 of 100 on every processor, whatever the order of its sums."""
    flags = [1.0] * shown + [0.0] * (of - shown)
    assert bootstrap(flags).mean >= 0.95
    assert bootstrap([0.0, *flags[1:]]).mean < 0.95
    assert nested(flags * 3, [(n % 3,) for n in range(3 * of)]).mean >= 0.95


def test_an_interval_is_the_same_in_whatever_order_a_processor_sums() -> None:
    values = [0.1 * (n % 7) for n in range(40)]
    usual = bootstrap(values)
    weights = resampled_weights(((),) * 40)
    backwards = np.array([sum(float(w) * v for w, v in zip(row[::-1], values[::-1], strict=True)) for row in weights])
    assert summary(usual.mean, backwards, 40) == usual


def test_without_a_value_there_is_no_mean() -> None:
    with pytest.raises(ValueError, match="no sample"):
        bootstrap([])
