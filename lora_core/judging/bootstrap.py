"""Means of nested samples with bootstrap intervals.

Samples are alike within a prompt (in an experiment: within a training seed, within a character). So groups are drawn
with replacement first, and within each drawn group its members (hierarchical data, Davison & Hinkley 1997, 3.8):
resampled as if they were independent, samples would make every interval too narrow.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lora_core.dataset import Frozen

Floats = NDArray[np.float64]
Place = tuple[Hashable, ...]
"""The groups that a sample belongs to, the widest first; all samples of a score have as many."""

RESAMPLES: Final = 2000
SEED: Final = 20250101
TAIL: Final = 0.025


class Score(Frozen):
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    samples: int = Field(ge=1, description="Values behind the mean.")


@dataclass(frozen=True)
class Weights:
    """What each sample counts in the estimate and in each resample.

    Attributes:
        mean: (N,); groups count alike, within a group its members. Sums to 1.
        resampled: (resamples, N); every row sums to 1.
    """

    mean: Floats
    resampled: Floats


def nested(values: Sequence[float], places: Sequence[Place]) -> Score:
    """The mean of the groups' means with its percentile interval (Efron 1979), 2,000 resamples, seed fixed.

    Raises:
        ValueError: there is no value.
    """
    weights = weights_of(tuple(places))
    data: Floats = np.asarray(values, dtype=np.float64)
    return summary(float(weights.mean @ data), weights.resampled @ data, len(values))


def bootstrap(values: Sequence[float]) -> Score:
    """The same for samples that share nothing.

    Raises:
        ValueError: there is no value.
    """
    return nested(values, [()] * len(values))


@functools.lru_cache(maxsize=64)
def weights_of(places: tuple[Place, ...]) -> Weights:
    """The weights of samples at these places; equal places get equal resamples, so that scores can be compared.

    Raises:
        ValueError: there is no sample.
    """
    if not places:
        raise ValueError("no sample to take the mean of")
    tree = _tree(places, np.arange(len(places)), 0)
    rng = np.random.default_rng(SEED)
    mean = np.zeros(len(places))
    _share(tree, 1.0, mean)
    resampled = np.zeros((RESAMPLES, len(places)))
    for row in resampled:
        _draw(tree, 1.0, row, rng)
    return Weights(mean, resampled)


def summary(mean: float, resampled: Floats, samples: int) -> Score:
    """A score from its estimate and its resamples."""
    low, high = np.quantile(resampled, [TAIL, 1 - TAIL])
    # Sums in another order can differ in the last bit: a constant's interval must still hold the constant.
    return Score(mean=mean, low=min(float(low), mean), high=max(float(high), mean), samples=samples)


_Leaf = NDArray[np.intp]
_Tree = _Leaf | list["_Tree"]


def _tree(places: Sequence[Place], positions: _Leaf, depth: int) -> _Tree:
    """Groups of groups of positions, in order of appearance."""
    if depth == len(places[positions[0]]):
        return positions
    groups: dict[Hashable, list[int]] = {}
    for position in positions:
        groups.setdefault(places[position][depth], []).append(int(position))
    return [_tree(places, np.array(members, dtype=np.intp), depth + 1) for members in groups.values()]


def _share(tree: _Tree, weight: float, counts: Floats) -> None:
    """Spread a weight evenly over the members of every group."""
    if isinstance(tree, list):
        for member in tree:
            _share(member, weight / len(tree), counts)
    else:
        counts[tree] = weight / len(tree)


def _draw(tree: _Tree, weight: float, counts: Floats, rng: np.random.Generator) -> None:
    """Spread a weight over members that are drawn with replacement."""
    drawn = rng.integers(0, len(tree), len(tree))
    if isinstance(tree, list):
        for member in drawn:
            _draw(tree[member], weight / len(tree), counts, rng)
    else:
        np.add.at(counts, tree[drawn], weight / len(tree))
