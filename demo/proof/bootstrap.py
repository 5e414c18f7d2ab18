"""Intervals for a nested experiment: pairs hold training seeds, training seeds hold samples.

Pairs are drawn with replacement, within each drawn pair its training seeds, within each drawn seed its samples
(hierarchical data, Davison & Hinkley 1997, 3.8). Samples of one LoRA are alike: resampled as if they were independent,
they would make every interval too narrow.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lora_core.judging.scores import Figure

Floats = NDArray[np.float64]

RESAMPLES: Final = 2000
SEED: Final = 20250101
_TAIL: Final = 0.025


class Place(NamedTuple):
    """Where in the experiment a sample belongs."""

    pair: str
    seed: int


@dataclass(frozen=True)
class Weights:
    """What each sample counts in the estimate and in each resample.

    Attributes:
        mean: (N,); pairs count alike, within a pair its seeds, within a seed its samples. Sums to 1.
        resampled: (resamples, N); every row sums to 1.
    """

    mean: Floats
    resampled: Floats


@functools.lru_cache(maxsize=64)
def weights_of(places: tuple[Place, ...]) -> Weights:
    """The weights of samples at these places; equal places get equal resamples, so that arms can be compared pairwise.

    Raises:
        ValueError: there is no sample.
    """
    if not places:
        raise ValueError("no sample to take the mean of")
    tree = _tree(places)
    rng = np.random.default_rng(SEED)
    mean = np.zeros(len(places))
    for seeds in tree:
        for samples in seeds:
            mean[samples] = 1 / (len(tree) * len(seeds) * len(samples))
    resampled = np.stack([_resample(tree, len(places), rng) for _ in range(RESAMPLES)])
    return Weights(mean, resampled)


def figure(values: Sequence[float], places: Sequence[Place]) -> Figure:
    """The mean of the pairs' means with its 95 % percentile interval.

    Raises:
        ValueError: there is no value.
    """
    weights = weights_of(tuple(places))
    data: Floats = np.asarray(values, dtype=np.float64)
    return _summary(float(weights.mean @ data), weights.resampled @ data, len(values))


def ratio(above: Sequence[float], below: Sequence[float], places: Sequence[Place], smallest: float) -> Figure | None:
    """The ratio of two means over the same samples; None where the lower one is not clearly above `smallest`."""
    weights = weights_of(tuple(places))
    upper, lower = (np.asarray(values, dtype=np.float64) for values in (above, below))
    bottom = weights.resampled @ lower
    if np.quantile(bottom, _TAIL) < smallest:
        return None
    mean = float(weights.mean @ upper) / float(weights.mean @ lower)
    return _summary(mean, (weights.resampled @ upper) / bottom, len(above))


def _summary(mean: float, resampled: Floats, samples: int) -> Figure:
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL])
    # Sums in another order can differ in the last bit: a constant's interval must still hold the constant.
    return Figure(mean=mean, low=min(float(low), mean), high=max(float(high), mean), samples=samples)


def _tree(places: Sequence[Place]) -> list[list[NDArray[np.intp]]]:
    """Pairs of seeds of samples, as positions."""
    seeds: dict[Place, list[int]] = {}
    for position, place in enumerate(places):
        seeds.setdefault(place, []).append(position)
    pairs: dict[str, list[NDArray[np.intp]]] = {}
    for place, samples in seeds.items():
        pairs.setdefault(place.pair, []).append(np.array(samples, dtype=np.intp))
    return list(pairs.values())


def _resample(tree: list[list[NDArray[np.intp]]], count: int, rng: np.random.Generator) -> Floats:
    counts = np.zeros(count)
    for pair in rng.integers(0, len(tree), len(tree)):
        seeds = tree[pair]
        for seed in rng.integers(0, len(seeds), len(seeds)):
            samples = seeds[seed]
            drawn = samples[rng.integers(0, len(samples), len(samples))]
            np.add.at(counts, drawn, 1 / (len(tree) * len(seeds) * len(samples)))
    return counts
