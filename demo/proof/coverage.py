"""Do 95 % intervals hold the truth in 95 of 100 experiments? Experiments are made up with the spread of the real one.

A difference between two arms in one picture is the mean that is asked for, plus what the pair, the training seed, the
picture (its prompt and noise, the same for all pairs) and chance each add.
"""

from collections.abc import Sequence
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from demo.proof.intervals import TAIL, Floats, Place, estimate, t_quantile
from lora_core.dataset import Frozen
from lora_core.judging.bootstrap import resampled_weights

DESIGNS: Final = ((8, 2), (4, 1))
"""Pairs and training seeds: of the core arms, and of the others."""
EXPERIMENTS: Final = 4000
_SEED: Final = 7
_DIGITS: Final = 4


class Spread(Frozen):
    """How much each thing adds to a difference, as standard deviations."""

    pair: float
    seed: float
    picture: float
    rest: float


class Coverage(Frozen):
    """How often an interval of nominally 95 % holds the true mean, in one design."""

    figure: str
    pairs: int
    seeds: int
    spread: Spread
    t: float
    t_skewed: float
    bootstrap: float


def cube_of(values: Sequence[float], places: Sequence[Place]) -> Floats:
    """Values as (pairs, seeds, pictures), of the training seeds that every pair has, else of the pairs that have most.

    Raises:
        ValueError: there is no value.
    """
    found = {place: value for value, place in zip(values, places, strict=True)}
    seeds_of: dict[str, set[int]] = {}
    for place in places:
        seeds_of.setdefault(place.pair, set()).add(place.seed)
    most = max(map(len, seeds_of.values()))
    pairs = [pair for pair, seeds in seeds_of.items() if len(seeds) == most]
    if len(pairs) < 2:
        pairs, most = list(seeds_of), 1
    pictures = dict.fromkeys(place[2:] for place in places)
    return np.array(
        [
            [[found[Place(pair, seed, *picture)] for picture in pictures] for seed in sorted(seeds_of[pair])[:most]]
            for pair in pairs
        ]
    )


def spread_of(values: Floats) -> Spread:
    """The spread of one experiment, by the mean squares of its nested and crossed parts (Searle et al. 1992, 4).

    Args:
        values: (pairs, seeds, pictures), at least 2 pairs and 2 pictures; with one seed its part is in the pair's.
    """
    pairs, seeds, pictures = values.shape
    by_run, by_pair, by_picture = values.mean(axis=2), values.mean(axis=(1, 2)), values.mean(axis=(0, 1))
    rest = values - by_run[..., None] - by_picture + values.mean()
    of_rest = (rest**2).sum() / ((pairs * seeds - 1) * (pictures - 1))
    of_picture = pairs * seeds * by_picture.var(ddof=1)
    of_pair = seeds * pictures * by_pair.var(ddof=1)
    of_seed = pictures * ((by_run - by_pair[:, None]) ** 2).sum() / (pairs * (seeds - 1)) if seeds > 1 else of_rest

    def deviation(mean_square: float, of_error: float, count: int) -> float:
        return round(float(np.sqrt(max(0.0, mean_square - of_error) / count)), _DIGITS)

    return Spread(
        pair=deviation(of_pair, of_seed, seeds * pictures),
        seed=deviation(of_seed, of_rest, pictures),
        picture=deviation(of_picture, of_rest, pairs * seeds),
        rest=deviation(of_rest, 0.0, 1),
    )


def coverage(figure: str, values: Floats, experiments: int = EXPERIMENTS) -> tuple[Coverage, ...]:
    """How well intervals cover in each design, if the world spreads as these values do.

    Args:
        figure: its name.
        values: as `spread_of` takes them.
        experiments: how many to make up for each design.
    """
    spread, pictures = spread_of(values), values.shape[2]

    def of_design(pairs: int, seeds: int) -> Coverage:
        shape = experiments, pairs, seeds, pictures
        usual = made_up(spread, shape)
        return Coverage(
            figure=figure, pairs=pairs, seeds=seeds, spread=spread, t=held(usual),
            t_skewed=held(made_up(spread, shape, skewed=True)), bootstrap=held_by_bootstrap(usual),
        )  # fmt: skip

    return tuple(of_design(*design) for design in DESIGNS)


def made_up(spread: Spread, shape: Sequence[int], *, skewed: bool = False) -> Floats:
    """Experiments whose true mean is 0, as (experiments, pairs, seeds, pictures).

    Args:
        spread: what each part adds.
        shape: of the result.
        skewed: pairs add what a gamma distribution of skewness 1 does (shape 4), not what a normal one does.
    """
    rng = np.random.default_rng(_SEED)
    count, pairs, seeds, pictures = shape
    of_pair = (rng.gamma(4.0, 1.0, (count, pairs, 1, 1)) - 4.0) / 2 if skewed else rng.normal(size=(count, pairs, 1, 1))
    return (
        spread.pair * of_pair
        + spread.seed * rng.normal(size=(count, pairs, seeds, 1))
        + spread.picture * rng.normal(size=(count, 1, 1, pictures))
        + spread.rest * rng.normal(size=(count, pairs, seeds, pictures))
    )


def held(experiments: Floats) -> float:
    """The share of experiments whose interval (`demo.proof.intervals.estimate`) holds 0."""
    mean, error, df = estimate(experiments.mean(axis=2))
    quantiles = {each: t_quantile(1 - TAIL, each) for each in np.unique(df).tolist()}
    return _share(np.abs(mean) <= error * np.vectorize(quantiles.get, otypes=[float])(df))


def held_by_bootstrap(experiments: Floats) -> float:
    """The share of experiments whose percentile interval of the nested bootstrap holds 0."""
    _, pairs, seeds, pictures = experiments.shape
    places = tuple((p, s) for p, s, _ in product(range(pairs), range(seeds), range(pictures)))
    resampled = resampled_weights(places) @ experiments.reshape(len(experiments), -1).T
    low, high = np.quantile(resampled, (TAIL, 1 - TAIL), axis=0)
    return _share((low <= 0) & (high >= 0))


def _share(ones: NDArray[np.bool_]) -> float:
    return round(float(ones.mean()), _DIGITS)
