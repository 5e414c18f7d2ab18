"""Every metric of a LoRA's samples, declared once: what measures, chooses, compares or shows goes through `METRICS`.

To add one, write a function of a sample, its base picture and the evidence, and an entry of `METRICS`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from lora_core.judging.bootstrap import Score
from lora_core.judging.evidence import (
    PLAIN_TAGS,
    Evidence,
    SamplePair,
    asks_for_a_place,
    probability,
    tags_of_prompt,
    trait_family,
)
from lora_core.recipe import LEAK_TAGS, Judging, Publish
from lora_core.sampling.samples import Sample

_PERSONS = ("1girl", "1boy", "1other", "solo")


def two_digits(value: float) -> str:
    """0.25, with a true minus sign and no negative zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: how it is computed, bounded, compared and shown.

    Attributes:
        key: its name in files.
        label: its name within a sentence.
        explanation: a sentence for the reader of a report.
        of_sample: the value of one sample and its base picture; None: it cannot be measured, or not on this prompt.
        of_column: instead, values of all samples of an epoch, which are measured together.
        of_seeds: instead, values of the samples of one prompt that differ by their seed.
        measured_by: the tags or the model that measure it; runs are compared only where these are the same.
        over_base: a delta over the base model alone, which therefore has none of its own.
        higher_is_better: None: neither is.
        bound: the option that an epoch has to hold to be chosen.
        by_edge: it is the interval's worse end that has to hold the bound, not the mean.
        of_base: the bound is a share of what the base model's own pictures have.
        required: an epoch of which it is not known is not within bounds.
        tolerance: the option that says how much worse a further version may be.
        format: how a value is written.
        headline: shown where there is room for few.
    """

    key: str
    label: str
    explanation: str
    of_sample: Callable[[SamplePair, Evidence], float | None] | None = None
    of_column: Callable[[Sequence[SamplePair], Evidence], Sequence[float | None]] | None = None
    of_seeds: Callable[[Sequence[Sample], Evidence], Iterable[float]] | None = None
    measured_by: Callable[[Evidence], tuple[str, ...]] | None = None
    over_base: bool = False
    higher_is_better: bool | None = None
    bound: Callable[[Judging], float] | None = None
    by_edge: bool = False
    of_base: bool = False
    required: bool = False
    tolerance: Callable[[Publish], float] | None = None
    format: Callable[[float], str] = two_digits
    headline: bool = False

    @property
    def title(self) -> str:
        """The label as a heading."""
        return self.label[:1].upper() + self.label[1:]

    @property
    def direction(self) -> str:
        """An arrow to where it is better; empty: nowhere."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    def text(self, score: Score | None) -> str:
        """Mean and interval in words."""
        return f"{self.format(score.mean)} ({self.span(score)})" if score else "not measured"

    def span(self, score: Score) -> str:
        """The interval in words."""
        return f"{self.format(score.low)} to {self.format(score.high)}"

    def missed(self, score: Score | None, bound: float | None) -> str:
        """The bound that a score misses, in words; empty: it holds it, or there is no score or no bound."""
        if bound is None or (score is None and not self.required):
            return ""
        if score is None:
            return f"{self.label} cannot be measured"
        sign = 1 if self.higher_is_better else -1
        edge = (score.low if self.higher_is_better else score.high) if self.by_edge else score.mean
        if sign * edge >= sign * bound:
            return ""
        value = self.format(score.mean) + (f" (to {self.format(edge)})" if self.by_edge else "")
        return f"{self.label} {value}, {self.limit(bound)}"

    def limit(self, bound: float) -> str:
        """A bound in words."""
        return f"at {'least' if self.higher_is_better else 'most'} {self.format(bound)}"


def _identity(pair: SamplePair, evidence: Evidence) -> float | None:
    """The mean over families of traits, so that five tags of a haircut are one; a character model counts as one."""
    (drawn, base), table = pair, evidence.table
    families: dict[str, list[float]] = {}
    for tag in _not_asked(pair, evidence.counted_traits):
        delta = probability(drawn, table, tag) - probability(base, table, tag)
        families.setdefault(trait_family(tag), []).append(delta)
    deltas = [fmean(each) for each in families.values()]
    if evidence.recognized and (share := evidence.recognized.share):
        deltas.append(share[drawn.image] - share[base.image])
    return fmean(deltas) if deltas else None


def _recognized(pair: SamplePair, evidence: Evidence) -> float | None:
    return evidence.recognized.share.get(pair[0].image) if evidence.recognized else None


def _character_model(evidence: Evidence) -> tuple[str, ...]:
    return (f"character model {evidence.recognized.model[:12]}",) if evidence.recognized else ()


def _outfit(pair: SamplePair, evidence: Evidence) -> float | None:
    """Of what the outfits are that the prompt calls."""
    asked = tags_of_prompt(pair[0].prompt)
    worn = [tag for called, tags in evidence.outfits.items() if called in asked for tag in tags if "*" not in tag]
    return _delta(pair, evidence, _not_asked(pair, worn))


def _leak(pairs: Sequence[SamplePair], evidence: Evidence) -> Sequence[float | None]:
    return evidence.look.leak(pairs)


def _background(pair: SamplePair, evidence: Evidence) -> float | None:
    asked = tags_of_prompt(pair[0].prompt)
    return _delta(pair, evidence, PLAIN_TAGS) if asks_for_a_place(asked) else None


def _dataset_bias(pair: SamplePair, evidence: Evidence) -> float | None:
    return _delta(pair, evidence, _not_asked(pair, evidence.dataset_bias))


def _copying(pair: SamplePair, evidence: Evidence) -> float | None:
    nearest = evidence.nearest(pair[:1])
    return float(nearest[0].bits <= evidence.copy_bits) if nearest else None


def _copying_cosine(pair: SamplePair, evidence: Evidence) -> float | None:
    closest = evidence.closest(pair[:1])
    return float(closest[0].cosine >= evidence.copy_cosine) if closest else None


def _prompt_adherence(pair: SamplePair, evidence: Evidence) -> float | None:
    """How many persons there are is left out, and so is what the LoRA brings by itself."""
    own = {*_PERSONS, *evidence.traits, *evidence.outfits, *LEAK_TAGS}
    known = evidence.known([tag for tag in tags_of_prompt(pair[0].prompt) if tag not in own])
    return fmean(probability(pair[0], evidence.table, tag) for tag in known) if known else None


def _diversity(samples: Sequence[Sample], evidence: Evidence) -> Iterable[float]:
    return evidence.similarity.distances([sample.image for sample in samples])


def _classifier_leak(pair: SamplePair, evidence: Evidence) -> float | None:
    return _image_delta(pair, evidence.classifier)


def _similarity(pair: SamplePair, evidence: Evidence) -> float | None:
    return _image_delta(pair, evidence.embedded.mean if evidence.embedded else None)


def _embedder(evidence: Evidence) -> tuple[str, ...]:
    return (f"embedder {evidence.embedded.embedder[:12]}",) if evidence.embedded else ()


IDENTITY = Metric(
    key="identity", label="identity", of_sample=_identity, over_base=True, higher_is_better=True, headline=True,
    explanation="How much more of the character’s traits the tagger sees than without the LoRA, trait by trait: hair "
    "colour, haircut, eyes, ears count alike, however many tags they have.",
    measured_by=lambda evidence: (*evidence.counted_traits, *_character_model(evidence)),
    tolerance=lambda publish: publish.worse_identity,
)  # fmt: skip
LEAK = Metric(
    key="leak", label="leak of the look", of_column=_leak, over_base=True, higher_is_better=False, headline=True,
    explanation="How far the samples went from the base’s own pictures (0) to the screenshots (1), by the look words "
    "together, or by the one that surely says more. The interval’s upper end has to hold the bound.",
    measured_by=lambda evidence: tuple(each.word.name for each in evidence.look.instruments),
    bound=lambda judging: judging.max_leak, by_edge=True, required=True, tolerance=lambda publish: publish.worse_leak,
)  # fmt: skip
METRICS: tuple[Metric, ...] = (
    IDENTITY,
    LEAK,
    Metric(
        key="outfit", label="outfit", of_sample=_outfit, over_base=True, higher_is_better=True,
        explanation="How much more of an outfit the tagger sees than without the LoRA, where the prompt calls it.",
    ),
    Metric(
        key="recognized", label="recognized by the character model", of_sample=_recognized, higher_is_better=True,
        explanation="With how many of the screenshots a sample shows the same character.",
        measured_by=_character_model,
    ),
    Metric(
        key="background", label="leak of the background", of_sample=_background, over_base=True, higher_is_better=False,
        explanation="How much more of a plain background the tagger sees than without the LoRA, where the prompt asks "
        "for another.",
        measured_by=lambda evidence: evidence.known(PLAIN_TAGS),
        bound=lambda judging: judging.max_background, tolerance=lambda publish: publish.worse_leak,
    ),
    Metric(
        key="dataset_bias", label="leak of framing and pose", of_sample=_dataset_bias, over_base=True,
        explanation="How much more of the dataset’s bias the tagger sees than without the LoRA: framings and poses "
        "that most screenshots have and the prompt doesn’t ask for.",
        measured_by=lambda evidence: evidence.known(evidence.dataset_bias), higher_is_better=False,
        bound=lambda judging: judging.max_habits, tolerance=lambda publish: publish.worse_leak,
    ),
    Metric(
        key="copying", label="share of copies", of_sample=_copying, higher_is_better=False, headline=True,
        explanation="Samples that are nearly one of the screenshots, by perceptual hash.",
        bound=lambda judging: judging.max_copying, tolerance=lambda publish: publish.worse_leak,
    ),
    Metric(
        key="copying_cosine", label="share of copies by the embedder", of_sample=_copying_cosine,
        explanation="Samples that are nearly one of the screenshots, by the cosine of their vectors.",
        measured_by=_embedder, higher_is_better=False, bound=lambda judging: judging.max_copying,
    ),
    Metric(
        key="prompt_adherence", label="prompt adherence", of_sample=_prompt_adherence, higher_is_better=True,
        explanation="How much the tagger sees of what the prompts ask for.",
        bound=lambda judging: judging.min_adherence, of_base=True,
    ),
    Metric(
        key="diversity", label="diversity", of_seeds=_diversity, higher_is_better=True,
        explanation="How much two seeds of a prompt differ: 0 the same, 1 unrelated.",
        bound=lambda judging: judging.min_diversity, of_base=True,
    ),
    Metric(
        key="classifier_leak", label="leak by the auxiliary classifier", of_sample=_classifier_leak, over_base=True,
        explanation="How much more probable an image classifier finds the 3D look than without the LoRA.",
        higher_is_better=False,
    ),
    Metric(
        key="similarity", label="similarity by the embedder", of_sample=_similarity, over_base=True,
        explanation="How much nearer samples are to the screenshots, on average, than without the LoRA; the look "
        "counts as much as the character there.",
        measured_by=_embedder,
    ),
)  # fmt: skip
"""In the order in which they are shown."""


def measured_in(scores: Iterable[Mapping[str, Score]]) -> list[Metric]:
    """The metrics of which at least one of these has a score: the columns of a table."""
    found = {key for each in scores for key in each}
    return [metric for metric in METRICS if metric.key in found]


def headlines() -> list[Metric]:
    """The few that are shown where there is room for few."""
    return [metric for metric in METRICS if metric.headline]


def _not_asked(pair: SamplePair, tags: Sequence[str]) -> list[str]:
    asked = tags_of_prompt(pair[0].prompt)
    return [tag for tag in tags if tag not in asked]


def _delta(pair: SamplePair, evidence: Evidence, tags: Sequence[str]) -> float | None:
    """The mean over the tags that the tagger knows."""
    known, (drawn, base), table = evidence.known(tags), pair, evidence.table
    if not known:
        return None
    return fmean(probability(drawn, table, tag) - probability(base, table, tag) for tag in known)


def _image_delta(pair: SamplePair, values: Mapping[str, float] | None) -> float | None:
    drawn, base = pair
    return values[drawn.image] - values[base.image] if values else None
