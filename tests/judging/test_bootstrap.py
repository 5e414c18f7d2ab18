"""Intervals: by their properties, and against normal theory."""

import pytest

from lora_core.judging.bootstrap import bootstrap, nested


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
    assert by_prompt.mean == heap.mean == pytest.approx(0.5)
    assert (by_prompt.low, by_prompt.high) == (0.0, 1.0)
    assert heap.high - heap.low < 0.25


def test_prompts_count_alike_whatever_the_number_of_their_seeds() -> None:
    assert nested([0.0, 0.0, 0.0, 1.0], [(0,), (0,), (0,), (1,)]).mean == pytest.approx(0.5)


def test_without_a_value_there_is_no_mean() -> None:
    with pytest.raises(ValueError, match="no sample"):
        bootstrap([])
