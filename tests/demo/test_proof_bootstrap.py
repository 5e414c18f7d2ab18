"""The nested bootstrap: its estimate by hand, its intervals by their properties."""

from itertools import product
from statistics import fmean

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from demo.proof.bootstrap import Place, figure, ratio
from lora_core.judging.bootstrap import resampled_weights

VALUES = st.floats(-1, 1, allow_nan=False)
PLACES = st.builds(Place, st.sampled_from("abc"), st.integers(1, 2))


def places(pairs: int, seeds: int, samples: int) -> list[Place]:
    return [Place(str(pair), seed) for pair, seed, _ in product(range(pairs), range(seeds), range(samples))]


@examples(30)
@given(st.lists(st.tuples(VALUES, PLACES), min_size=1, max_size=12))
def test_the_interval_holds_the_mean_and_lies_within_the_values(data: list[tuple[float, Place]]) -> None:
    values, where = [value for value, _ in data], [place for _, place in data]
    found = figure(values, where)
    assert found.low <= found.mean <= found.high
    assert min(values) - 1e-9 <= found.low
    assert found.high <= max(values) + 1e-9
    assert found.samples == len(data)
    assert found == figure(values, where)


def test_pairs_count_alike_whatever_the_number_of_their_samples() -> None:
    where = [Place("a", 1)] * 4 + [Place("b", 1), Place("b", 2), Place("b", 2)]
    values = [0.0] * 4 + [1.0, 0.0, 0.5]
    # a: 0; b: mean of 1 and 0.25
    assert figure(values, where).mean == pytest.approx(fmean([0.0, 0.625]))


def test_a_constant_has_no_width() -> None:
    found = figure([0.3] * 12, places(3, 2, 2))
    assert (found.low, found.high) == pytest.approx((0.3, 0.3))


def test_every_resample_is_a_mean() -> None:
    weights = resampled_weights(tuple(places(3, 2, 4)))
    assert np.allclose(weights.sum(axis=1), 1)
    assert (weights >= 0).all()


def width(pairs: int, seeds: int, samples: int) -> float:
    values = np.random.default_rng(1).normal(0, 0.3, pairs * seeds * samples).clip(-1, 1)
    found = figure(values.tolist(), places(pairs, seeds, samples))
    return found.high - found.low


def test_more_samples_pairs_or_seeds_make_the_interval_narrower() -> None:
    assert width(1, 1, 256) < 0.6 * width(1, 1, 16)
    assert width(16, 1, 16) < 0.6 * width(1, 1, 16)
    assert width(1, 16, 16) < 0.6 * width(1, 1, 16)


def test_one_sample_has_the_error_of_its_mean() -> None:
    """Of 400 values of deviation 0.3: 2 × 1.96 × 0.3 / 20 = 0.0588."""
    assert width(1, 1, 400) == pytest.approx(0.0588, rel=0.15)


def test_what_differs_between_pairs_alone_is_not_hidden_by_many_samples() -> None:
    where = places(4, 2, 50)
    values = [float(place.pair) / 4 for place in where]
    found = figure(values, where)
    assert found.high - found.low > 0.3


def test_a_ratio_of_means_by_hand() -> None:
    where = places(2, 2, 3)
    found = ratio([0.2] * 12, [0.8] * 12, where, smallest=0.02)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_a_ratio_over_next_to_nothing_is_none() -> None:
    assert ratio([0.2] * 12, [0.01] * 12, places(2, 2, 3), smallest=0.02) is None


def test_without_a_sample_there_is_no_mean() -> None:
    with pytest.raises(ValueError, match="no sample"):
        figure([], [])
