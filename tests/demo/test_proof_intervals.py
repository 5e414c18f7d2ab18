"""Intervals of few pairs: sums by hand, tables from books, and how often they hold the truth."""

from itertools import product
from statistics import fmean

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from demo.proof.coverage import DESIGNS, Spread, cube_of, held, held_by_bootstrap, made_up, spread_of
from demo.proof.intervals import Place, estimate, figure, holm, p_value, t_below, t_quantile, table_of

VALUES = st.floats(-1, 1, allow_nan=False)


def places(pairs: int, seeds: int, pictures: int) -> list[Place]:
    return [Place(str(p), s, 0, k) for p, s, k in product(range(pairs), range(seeds), range(pictures))]


def figure_of(*pairs: tuple[float, ...]) -> tuple[float, float, float]:
    """Of pairs with as many pictures each."""
    found = figure([value for pair in pairs for value in pair], places(len(pairs), 1, len(pairs[0])))
    return found.mean, found.low, found.high


def test_pairs_of_one_picture_have_students_interval() -> None:
    """0.1, 0.2, 0.4, 0.5: mean 0.3, s = √(0.1 / 3), t of 3 degrees 3.182: 0.3 ± 3.182 · 0.18257 / 2."""
    assert figure_of((0.1,), (0.2,), (0.4,), (0.5,)) == pytest.approx((0.3, 0.3 - 0.29052, 0.3 + 0.29052), abs=1e-4)


def test_what_all_pairs_share_in_a_picture_widens_the_interval_and_chance_does_not() -> None:
    """Pictures 0.0 and 0.4 in every pair: nothing differs between pairs, the mean of two pictures is all there is.

    Of two pictures with s² = 0.08: error √(0.08 / 2) = 0.2, one degree of freedom, t 12.706.
    """
    low, high = figure_of((0.0, 0.4), (0.0, 0.4), (0.0, 0.4))[1:]
    assert (low, high) == pytest.approx((0.2 - 12.706 * 0.2, 0.2 + 12.706 * 0.2), abs=1e-3)
    opposed = figure_of((0.0, 0.4), (0.4, 0.0), (0.0, 0.4), (0.4, 0.0))
    assert opposed == pytest.approx((0.2, 0.2, 0.2))


def test_a_pairs_training_seeds_count_as_one_pair() -> None:
    where = [Place("a", 1), Place("a", 2), Place("a", 3), Place("b", 1)]
    found = figure([0.0, 0.1, 0.2, 0.5], where)
    assert found.mean == pytest.approx(fmean([0.1, 0.5]))
    assert found == figure([0.1, 0.5], [Place("a", 1), Place("b", 1)]).model_copy(update={"samples": 4})


@examples(30)
@given(st.integers(1, 4), st.integers(1, 2), st.integers(1, 4), st.data())
def test_an_interval_holds_its_mean(pairs: int, seeds: int, pictures: int, data: st.DataObject) -> None:
    count = pairs * seeds * pictures
    values = data.draw(st.lists(VALUES, min_size=count, max_size=count))
    found = figure(values, places(pairs, seeds, pictures))
    assert found.low <= found.mean + 1e-9
    assert found.mean <= found.high + 1e-9
    assert found.samples == count


def test_one_pair_has_the_interval_of_its_pictures() -> None:
    found = figure([0.0, 1.0] * 50, places(1, 1, 100))
    assert (found.low, found.high) == pytest.approx((0.4, 0.6), abs=0.03)
    assert p_value([0.5] * 100, places(1, 1, 100)) == pytest.approx(1.0)


def test_a_pair_without_a_picture_that_others_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks a picture"):
        table_of([0.1, 0.2, 0.3], [Place("a", 1, 0, 1), Place("a", 1, 0, 2), Place("b", 1, 0, 1)])
    with pytest.raises(ValueError, match="no sample"):
        figure([], [])


@pytest.mark.parametrize(("df", "t"), [(1, 12.7062), (2, 4.30265), (3, 3.18245), (7, 2.36462), (30, 2.04227)])
def test_students_t_is_that_of_the_tables(df: int, t: float) -> None:
    assert t_quantile(0.975, df) == pytest.approx(t, abs=1e-4)
    assert t_below(t, df) == pytest.approx(0.975, abs=1e-6)
    assert t_below(-t, df) == pytest.approx(0.025, abs=1e-6)


def test_a_p_value_is_five_percent_where_the_interval_ends_at_zero() -> None:
    values = np.array([0.1, 0.2, 0.4, 0.5])
    where = places(4, 1, 1)
    low = figure(values.tolist(), where).low
    assert p_value((values - low).tolist(), where) == pytest.approx(0.05, abs=1e-6)
    assert p_value([0.2] * 4, where) == pytest.approx(0.0)
    assert p_value([0.0] * 4, where) == pytest.approx(1.0)


def test_holms_correction_is_that_of_his_paper() -> None:
    """Three: the smallest times 3, the next times 2, the largest as it is but never below the one before."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == pytest.approx({"a": 1.0, "b": 1.0})


SPREADS = (
    Spread(pair=0.05, seed=0.03, picture=0.0, rest=0.2),
    Spread(pair=0.05, seed=0.03, picture=0.1, rest=0.2),
    Spread(pair=0.1, seed=0.02, picture=0.05, rest=0.15),
)


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("spread", SPREADS, ids=str)
def test_intervals_hold_the_truth_in_93_to_97_of_100_experiments(spread: Spread, *, skewed: bool) -> None:
    for pairs, seeds in DESIGNS:
        assert 0.93 <= held(made_up(spread, (4000, pairs, seeds, 16), skewed=skewed)) <= 0.97


def test_a_nested_bootstrap_of_few_pairs_does_not() -> None:
    assert held_by_bootstrap(made_up(SPREADS[2], (500, 4, 1, 16))) < 0.9


def test_the_spread_of_an_experiment_is_found_again() -> None:
    spread = Spread(pair=0.1, seed=0.05, picture=0.08, rest=0.15)
    found = [spread_of(one) for one in made_up(spread, (200, 8, 2, 32))]
    for part in ("pair", "seed", "picture", "rest"):
        squares = fmean(getattr(one, part) ** 2 for one in found)
        assert squares**0.5 == pytest.approx(getattr(spread, part), rel=0.1)


def test_an_experiment_that_is_not_finished_is_taken_as_far_as_it_is_balanced() -> None:
    where = [*places(3, 1, 2), *[Place("0", 1, 0, k) for k in range(2)]]
    values = np.arange(8.0)
    assert cube_of(values.tolist(), where).shape == (3, 1, 2)  # one pair alone has two seeds
    where += [Place("1", 1, 0, k) for k in range(2)]
    assert cube_of(np.arange(10.0).tolist(), where).shape == (2, 2, 2)


def test_many_experiments_are_estimated_as_each_is() -> None:
    tables = np.random.default_rng(1).normal(size=(3, 4, 5))
    every = estimate(tables)
    for number, one in enumerate(tables):
        alone = estimate(one)
        assert (every.mean[number], every.error[number], every.df[number]) == pytest.approx(
            (float(alone.mean), float(alone.error), int(alone.df))
        )
