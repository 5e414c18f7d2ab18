"""Means of nested samples with bootstrap intervals.

Samples are alike within a prompt (in an experiment: within a training seed, within a character). So groups are drawn
with replacement first, and within each drawn group its members (hierarchical data, Davison & Hinkley 1997, 3.8):
resampled as if they were independent, samples would make every interval too narrow.

Figures are compared with bounds, so they must be the same on every processor: means are exact, and what comes out of a
matrix product, whose sums are taken in an order of the processor's own, is rounded far below what any figure tells.
"""

import functools
from collections.abc import Hashable, Sequence
from fractions import Fraction
from math import fsum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lora_core.dataset import Frozen

Floats = NDArray[np.float64]
Place = tuple[Hashable, ...]
"""The groups that a sample belongs to, the widest first; all samples of a figure have as many."""

RESAMPLES: Final = 2000
SEED: Final = 20250101
TAIL: Final = 0.025
_DECIMALS: Final = 12


class Score(Frozen):
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    samples: int = Field(ge=1, description="Values that the mean is of.")


def nested(values: Sequence[float], places: Sequence[Place]) -> Score:
    """The mean of the groups' means with its percentile interval (Efron 1979), 2,000 resamples, seed fixed.

    Raises:
        ValueError: there is no value.
    """
    weights = resampled_weights(tuple(places))
    return summary(nested_mean(values, places), weights @ np.asarray(values, dtype=np.float64), len(values))


def bootstrap(values: Sequence[float]) -> Score:
    """The same for samples that share nothing.

    Raises:
        ValueError: there is no value.
    """
    return nested(values, [()] * len(values))


def nested_mean(values: Sequence[float], places: Sequence[Place]) -> float:
    """The mean of the groups' means, rounded once: 95 of 100 is 0.95.

    Raises:
        ValueError: there is no value.
    """
    return float(_mean(_tree(places, np.arange(len(places)), 0), values))


@functools.lru_cache(maxsize=64)
def resampled_weights(places: tuple[Place, ...]) -> Floats:
    """What each sample counts in each resample; equal places get equal resamples, so that figures can be compared.

    Returns:
        (resamples, N); every row sums to 1.

    Raises:
        ValueError: there is no sample.
    """
    tree = _tree(places, np.arange(len(places)), 0)
    rng = np.random.default_rng(SEED)
    resampled = np.zeros((RESAMPLES, len(places)))
    for row in resampled:
        _draw(tree, 1.0, row, rng)
    return resampled


def summary(mean: float, resampled: Floats, samples: int) -> Score:
    """A figure from its estimate and its resamples."""
    low, high = np.quantile(resampled, [TAIL, 1 - TAIL]).round(_DECIMALS)
    # A constant's interval must still hold the constant.
    return Score(mean=mean, low=min(float(low), mean), high=max(float(high), mean), samples=samples)


_Leaf = NDArray[np.intp]
_Tree = _Leaf | list["_Tree"]


def _tree(places: Sequence[Place], positions: _Leaf, depth: int) -> _Tree:
    """Groups of groups of positions, in order of appearance.

    Raises:
        ValueError: there is no sample.
    """
    if not len(positions):
        raise ValueError("no sample to take the mean of")
    if depth == len(places[positions[0]]):
        return positions
    groups: dict[Hashable, list[int]] = {}
    for position in positions:
        groups.setdefault(places[position][depth], []).append(int(position))
    return [_tree(places, np.array(members, dtype=np.intp), depth + 1) for members in groups.values()]


def _mean(tree: _Tree, values: Sequence[float]) -> Fraction:
    """Groups count alike, within a group its members."""
    if isinstance(tree, list):
        return sum((_mean(member, values) for member in tree), Fraction()) / len(tree)
    return Fraction(fsum(values[position] for position in tree)) / len(tree)


def _draw(tree: _Tree, weight: float, counts: Floats, rng: np.random.Generator) -> None:
    """Spread a weight over members that are drawn with replacement."""
    drawn = rng.integers(0, len(tree), len(tree))
    if isinstance(tree, list):
        for member in drawn:
            _draw(tree[member], weight / len(tree), counts, rng)
    else:
        np.add.at(counts, tree[drawn], weight / len(tree))
