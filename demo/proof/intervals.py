"""Intervals for an experiment of few pairs, and Holm's correction for many arms.

An answer must hold for other characters and for other noise, so pairs and pictures are both what varies, crossed: every
pair is drawn from the same prompts and noise. Training seeds make a pair's mean more exact and are no further pairs. A
nested bootstrap of three to eight pairs knows neither how few they are nor what they share, and its intervals are too
narrow (`demo.proof.coverage` shows both).
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lora_core.judging.bootstrap import Score, bootstrap, nested_mean

Floats = NDArray[np.float64]

TAIL: Final = 0.025
ALPHA: Final = 2 * TAIL
_DECIMALS: Final = 12
"""Sums are taken in an order of their own on every processor; nothing that is told hangs on more digits."""
_HALVINGS: Final = 80


class Place(NamedTuple):
    """Where in the experiment a sample belongs; prompt and noise are the same in every pair."""

    pair: str
    seed: int
    prompt: int = 0
    noise: int = 0


class Estimate(NamedTuple):
    """A mean with its standard error and degrees of freedom; arrays where many experiments are estimated at once."""

    mean: Floats
    error: Floats
    df: NDArray[np.int64]


def figure(values: Sequence[float], places: Sequence[Place]) -> Score:
    """The mean of the pairs' means with its 95 % interval by Student's t.

    With one pair there is nothing to tell how much pairs differ: the interval is then that of its pictures alone.

    Raises:
        ValueError: there is no value.
    """
    mean = nested_mean(values, [place[:2] for place in places])
    table = table_of(values, places)
    if len(table) == 1:
        return bootstrap(values).model_copy(update={"mean": mean})
    _, error, df = estimate(table)
    reach = t_quantile(1 - TAIL, int(df)) * float(error)
    return Score(
        mean=mean, low=round(mean - reach, _DECIMALS), high=round(mean + reach, _DECIMALS), samples=len(values)
    )


def p_value(values: Sequence[float], places: Sequence[Place]) -> float:
    """How likely a mean so far from zero is if there is no difference, two-sided; 1 with fewer than two pairs.

    Raises:
        ValueError: there is no value.
    """
    table = table_of(values, places)
    if len(table) == 1:
        return 1.0
    mean, error, df = estimate(table)
    if error < 10.0**-_DECIMALS:
        return float(abs(mean) < 10.0**-_DECIMALS)
    return round(2 * (1 - t_below(float(abs(mean) / error), int(df))), _DECIMALS)


def table_of(values: Sequence[float], places: Sequence[Place]) -> Floats:
    """(pairs, pictures): what every pair says of every picture, as the mean of its training seeds.

    Raises:
        ValueError: there is no value, or a pair lacks a picture that another has.
    """
    if not values:
        raise ValueError("no sample to take the mean of")
    pairs = {pair: row for row, pair in enumerate(dict.fromkeys(place.pair for place in places))}
    pictures = {key: column for column, key in enumerate(dict.fromkeys(place[2:] for place in places))}
    sums, counts = np.zeros((2, len(pairs), len(pictures)))
    for value, place in zip(values, places, strict=True):
        where = pairs[place.pair], pictures[place[2:]]
        sums[where] += value
        counts[where] += 1
    if not counts.all():
        raise ValueError("pairs are compared picture by picture, and one of them lacks a picture")
    return np.asarray(sums / counts)


def estimate(table: Floats) -> Estimate:
    """Mean, error and degrees of freedom of a table of crossed pairs and pictures (Satterthwaite 1946).

    Both parts' mean squares hold the rest's, so it is taken off once; where pictures differ no more than by chance,
    this is Student's t over the pairs' means.

    Args:
        table: (…, pairs, pictures), at least two pairs.
    """
    pairs, pictures = table.shape[-2:]
    by_pair, by_picture, mean = table.mean(axis=-1), table.mean(axis=-2), table.mean(axis=(-2, -1))
    of_pair = by_pair.var(axis=-1, ddof=1) / pairs
    if pictures == 1:
        return Estimate(mean, np.sqrt(of_pair), np.full(mean.shape, pairs - 1))
    rest = table - by_pair[..., None] - by_picture[..., None, :] + mean[..., None, None]
    df_rest = (pairs - 1) * (pictures - 1)
    of_rest = (rest**2).sum(axis=(-2, -1)) / df_rest / (pairs * pictures)
    of_picture = by_picture.var(axis=-1, ddof=1) / pictures
    shared = of_picture > of_rest
    variance = of_pair + np.where(shared, of_picture - of_rest, 0.0)
    parts = of_pair**2 / (pairs - 1) + shared * (of_picture**2 / (pictures - 1) + of_rest**2 / df_rest)
    df = np.divide(variance**2, parts, out=np.zeros(mean.shape), where=parts > 0)
    least = min(pairs, pictures) - 1  # what is taken off can push it below that of either part alone
    return Estimate(mean, np.sqrt(variance), np.maximum(least, np.floor(df)).astype(np.int64))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values corrected for their number, so that all of a family together err in 5 of 100 cases (Holm 1979)."""
    corrected, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        corrected[name] = round(largest, _DECIMALS)
    return corrected


def t_below(t: float, df: int) -> float:
    """Student's t distribution function for whole degrees of freedom (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(1 + odd, df, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + within / 2


def t_quantile(share: float, df: int) -> float:
    """The t below which a share of the distribution lies, by halving; a share of at least one half."""
    low, high = 0.0, max(2 * NormalDist().inv_cdf(share), math.tan(math.pi * (share - 0.5)) + 1)  # df = 1 is Cauchy's
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if t_below(middle, df) < share else (low, middle)
    return (low + high) / 2
