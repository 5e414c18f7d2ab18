"""Intervals for a nested experiment: pairs hold training seeds, training seeds hold samples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lora_core.judging.bootstrap import TAIL, Score, nested, nested_mean, resampled_weights, summary


class Place(NamedTuple):
    """Where in the experiment a sample belongs."""

    pair: str
    seed: int


def figure(values: Sequence[float], places: Sequence[Place]) -> Score:
    """The mean of the pairs' means with its 95 % percentile interval.

    Raises:
        ValueError: there is no value.
    """
    return nested(values, places)


def ratio(above: Sequence[float], below: Sequence[float], places: Sequence[Place], smallest: float) -> Score | None:
    """The ratio of two means over the same samples; None where the lower one is not clearly above `smallest`."""
    weights = resampled_weights(tuple(places))
    upper, lower = (weights @ np.asarray(values, dtype=np.float64) for values in (above, below))
    if np.quantile(lower, TAIL) < smallest:
        return None
    return summary(nested_mean(above, places) / nested_mean(below, places), upper / lower, len(above))
