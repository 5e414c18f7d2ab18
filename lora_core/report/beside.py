"""Variants beside each other, two at a time, for the page that compares them."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.judging.paired import differences
from lora_core.judging.picture import Measure, Picture
from lora_core.judging.scores import Figures
from lora_core.report.data import Interval
from lora_core.report.figures import interval

_MEASURED_BY: Mapping[Measure, str] = {
    "identity": "traits",
    "leak": "look_tags",
    "habits": "habits",
    "copying_cosine": "embedder",
    "likeness": "embedder",
}
"""Measure → tags that it is the mean of, or what else measured it; two variants are compared by it only if these are
the same."""


class Readings(Frozen):
    """A variant's chosen epoch, picture by picture."""

    pictures: tuple[Picture, ...] = ()
    tags: Mapping[Measure, tuple[str, ...]] = Field(default={}, description="Measure → the tags that were measured.")


class Beside(Frozen):
    """How one variant differs from another."""

    name: str
    other: str
    pairs: int = Field(description="Pictures that both drew from the same prompt, noise and base.")
    differences: Mapping[Measure, Interval] = Field(description="By measure: the first minus the other.")

    def apart(self, measure: Measure) -> bool:
        """Whether the interval leaves zero out."""
        found = self.differences.get(measure)
        return found is not None and not found.low <= 0 <= found.high


def readings(pictures: Sequence[Picture], figures: Figures) -> Readings:
    """What a verdict says of one epoch's pictures."""
    tags = {measure: tuple(sorted(getattr(figures, field))) for measure, field in _MEASURED_BY.items()}
    return Readings(pictures=tuple(pictures), tags=tags)


def beside_each_other(variants: Sequence[tuple[str, Readings]]) -> list[Beside]:
    """Every two variants, the later minus the earlier one."""
    return [
        _beside(later, earlier)
        for earlier, later in combinations([each for each in variants if each[1].pictures], 2)
    ]  # fmt: skip


def _beside(later: tuple[str, Readings], earlier: tuple[str, Readings]) -> Beside:
    (name, after), (other, before) = later, earlier
    found = {
        measure: shown
        for measure, figure in differences(before.pictures, after.pictures).items()
        if before.tags.get(measure) == after.tags.get(measure) and (shown := interval(figure))
    }
    same = {(each.prompt_index, each.seed, each.base) for each in before.pictures}
    pairs = sum((each.prompt_index, each.seed, each.base) in same for each in after.pictures)
    return Beside(name=name, other=other, pairs=pairs, differences=found)
