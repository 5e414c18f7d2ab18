"""LoRAs two at a time, picture by picture: what a prompt and a noise do by themselves cancels out."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.judging import metrics
from lora_core.judging.bootstrap import Score, nested
from lora_core.judging.measure import PictureScores
from lora_core.judging.metrics import Metric
from lora_core.judging.verdict import Verdict

_Pairs = Sequence[tuple[PictureScores, PictureScores]]


class Comparison(Frozen):
    """How one variant differs from another, each at its chosen epoch."""

    name: str
    other: str
    pairs: int = Field(description="Pictures that both drew from the same prompt, noise and base.")
    differences: Mapping[str, Score] = Field(description="By metric: the first minus the other.")

    def apart(self, metric: Metric) -> bool:
        """Whether the interval leaves zero out."""
        found = self.differences.get(metric.key)
        return found is not None and not found.low <= 0 <= found.high


def compare_variants(variants: Sequence[tuple[str, Verdict]]) -> list[Comparison]:
    """Every two variants, the later minus the earlier one, by the metrics that the same tags and models measured."""
    return [_comparison(later, earlier) for earlier, later in combinations(variants, 2)]


def differences(one: Sequence[PictureScores], other: Sequence[PictureScores]) -> dict[str, Score]:
    """The mean of other - one over the pictures that both drew from the same, with its 95 % bootstrap interval.

    A pair is two samples of one prompt and seed for which the base alone drew the very same picture, so prompt,
    noise, sampler and base are the same and only the LoRA differs. Prompts are resampled, then seeds within them
    (`nested`). Two intervals that overlap say little about two LoRAs; this one says whether they differ.

    Returns:
        By metric; one that no pair has values of is not there.
    """
    pairs = _pairs(one, other)
    found = {metric.key: _difference(pairs, metric.key) for metric in metrics.METRICS}
    return {key: score for key, score in found.items() if score is not None}


def _comparison(later: tuple[str, Verdict], earlier: tuple[str, Verdict]) -> Comparison:
    (name, after), (other, before) = later, earlier
    one, two = (verdict.chosen.metrics.pictures for verdict in (before, after))
    found = differences(one, two)
    tags, others = ({key: sorted(by) for key, by in each.measured.measured_by.items()} for each in (before, after))
    alike = {key: score for key, score in found.items() if tags.get(key) == others.get(key)}
    return Comparison(name=name, other=other, pairs=len(_pairs(one, two)), differences=alike)


def _pairs(one: Sequence[PictureScores], other: Sequence[PictureScores]) -> _Pairs:
    known = {each.origin: each for each in one}
    return [(known[each.origin], each) for each in other if each.origin in known]


def _difference(pairs: _Pairs, key: str) -> Score | None:
    both = [(one, other) for one, other in pairs if key in one.values and key in other.values]
    values = [other.values[key] - one.values[key] for one, other in both]
    return nested(values, [(one.prompt_index,) for one, _ in both]) if both else None
