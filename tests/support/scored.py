"""Verdicts on epochs whose scores are written down."""

from collections.abc import Iterable

from lora_core.judging.bootstrap import Score
from lora_core.judging.choice import choose_epoch
from lora_core.judging.measure import EpochMetrics, Measurements
from lora_core.judging.verdict import Verdict
from lora_core.recipe import Judging


def score(mean: float, half_width: float = 0.1, *, low: float | None = None) -> Score:
    return Score(mean=mean, low=mean - half_width if low is None else low, high=mean + half_width, samples=6)


def epoch(number: int = 1, weight: float = 1.0, **scores: Score | None) -> EpochMetrics:
    """By metric; None is not measured."""
    known = {key: found for key, found in scores.items() if found}
    return EpochMetrics(epoch=str(number), weight=weight, file=f"A-{number:06d}.safetensors", scores=known)


def measurements(epochs: Iterable[EpochMetrics], **fields: object) -> Measurements:
    return Measurements.model_validate({"epochs": tuple(epochs), "base": {}, **fields})


def judged(*epochs: EpochMetrics, options: Judging | None = None, **fields: object) -> Verdict:
    """As the rule, or the options, choose."""
    measured = measurements(epochs, **fields)
    return Verdict(measured=measured, choice=choose_epoch(measured, options or Judging()))
