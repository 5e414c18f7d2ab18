"""Several ways to make a LoRA, side by side on one page and two at a time, picture by picture."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.judging import metrics
from lora_core.judging.bootstrap import Score, nested
from lora_core.judging.choice import RULE
from lora_core.judging.gates import read_gates
from lora_core.judging.measure import PictureScores
from lora_core.judging.metrics import Metric, measured_in
from lora_core.judging.verdict import Verdict, read_verdict
from lora_core.refs import ReportRef
from lora_core.report.data import Drawn
from lora_core.report.html import environment
from lora_core.report.plots import variants_plot
from lora_core.sampling.samples import NO_LORA, load_samples
from lora_core.store import Store

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


class Variant(Frozen):
    """One recipe and what came of it; without a verdict it failed."""

    name: str
    what: str = Field(description="The recipe's method in words.")
    verdict: Verdict | None = None
    reason: str = Field(description="Why this epoch, or why it failed.")
    checks: tuple[tuple[str, bool], ...] = Field(default=(), description="Line of each check, and whether it passed.")
    samples: tuple[Drawn, ...] = Field(default=(), repr=False, description="The chosen epoch's, and the base's own.")


def variant(
    store: Store, name: str, what: str, samples: ReportRef, verdict: ReportRef, checks: Sequence[ReportRef]
) -> Variant:
    """From what a run came to.

    Args:
        store: where it is.
        name: how it is called on the page.
        what: its method in words.
        samples: of every epoch.
        verdict: on them.
        checks: between its stages.
    """
    found, drawn = read_verdict(store, verdict), load_samples(store, samples)
    choice = found.choice
    shown = (*drawn.of(NO_LORA), *drawn.of(choice.epoch, choice.weight))
    return Variant(
        name=name,
        what=what,
        verdict=found,
        reason=choice.reason,
        checks=tuple((gate.line, gate.passed) for check in checks for gate in read_gates(store, check)),
        samples=tuple(
            Drawn(
                epoch=one.epoch, weight=one.weight, prompt=one.prompt, seed=one.seed,
                picture=store.get_bytes(one.image),
            )
            for one in shown
        ),
    )  # fmt: skip


def render_comparison(variants: Sequence[Variant]) -> str:
    """One HTML page that needs no other file."""
    judged = [(each.name, each.verdict) for each in variants if each.verdict]
    drawn = [each for each in variants if each.samples]
    differences = compare_variants(judged)
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            variants=variants,
            base=judged[0][1].measured.base if judged else {},
            metrics=measured_in(one.scores for _, verdict in judged for one in verdict.measured.epochs),
            plot=variants_plot(judged),
            differences=differences,
            paired=measured_in(each.differences for each in differences),
            grid=_grid(drawn),
            shown=[each.name for each in drawn],
            rule=RULE,
        )
    )


def _grid(variants: Sequence[Variant]) -> list[tuple[str, int, list[Drawn | None]]]:
    """Prompt, seed, and a picture each: the base's own, then every variant's; prompts are matched by their place."""
    columns: list[dict[tuple[int, int], Drawn]] = []
    places: dict[tuple[int, int], str] = {}
    for each in variants:
        own = [drawn for drawn in each.samples if drawn.epoch != NO_LORA]
        prompts = list(dict.fromkeys(drawn.prompt for drawn in own))
        at = {(prompts.index(drawn.prompt), drawn.seed): drawn for drawn in own}
        columns.append(at)
        places |= {place: drawn.prompt for place, drawn in at.items() if place not in places}
    base = _base(variants)
    return [
        (prompt, place[1], [base.get((prompt, place[1])), *(column.get(place) for column in columns)])
        for place, prompt in places.items()
    ]


def _base(variants: Sequence[Variant]) -> dict[tuple[str, int], Drawn]:
    first = next((each for each in variants if each.samples), None)
    return {(one.prompt, one.seed): one for one in first.samples if one.epoch == NO_LORA} if first else {}
