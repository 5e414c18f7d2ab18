"""The metrics of every epoch × weight, measured on its samples. Each stands alone: there is no total score."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.errors import DatasetError
from lora_core.judging import metrics
from lora_core.judging.bootstrap import Score, nested
from lora_core.judging.evidence import PLAIN_TAGS, Evidence, SamplePair, probability
from lora_core.judging.leak import LookWord
from lora_core.judging.metrics import Metric
from lora_core.judging.similarity import Closest, Nearest
from lora_core.recipe import LEAK_TAGS
from lora_core.refs import Digest
from lora_core.sampling.samples import NO_LORA, Column, Sample, Samples


class TagDelta(Frozen):
    """One tag's mean probability in an epoch's samples and in the base model's own."""

    tag: str
    base: float
    epoch: float


class PictureScores(Frozen):
    """The metrics of one sample: scores are the means of these, and two LoRAs are compared picture by picture."""

    prompt_index: int
    seed: int
    base: Digest = Field(description="The picture of the same prompt and seed without the LoRA.")
    values: Mapping[str, float] = Field(description="By metric; one that says nothing of this prompt is not there.")

    @property
    def origin(self) -> tuple[int, int, Digest]:
        """What it was drawn from: pictures of two LoRAs with the same origin are a pair."""
        return self.prompt_index, self.seed, self.base


class EpochMetrics(Frozen):
    """The metrics of one epoch at one weight."""

    epoch: str
    weight: float
    file: str
    scores: Mapping[str, Score] = Field(
        description="By metric; what cannot be measured with these prompts or tags is not there."
    )
    nearest: Nearest | None = Field(default=None, description="The sample most like a screenshot, by hash.")
    closest: Closest | None = Field(default=None, description="The same by the embedder.")
    tags: tuple[TagDelta, ...] = Field(default=(), description="Every tag that some metric is the mean of.")
    pictures: tuple[PictureScores, ...] = Field(default=(), repr=False)

    def score(self, metric: Metric) -> Score | None:
        """One metric's; None: it was not measured."""
        return self.scores.get(metric.key)


class Measurements(Frozen):
    """The metrics of all samples, column by column."""

    epochs: tuple[EpochMetrics, ...]
    base: Mapping[str, Score] = Field(description="The same prompts and seeds without the LoRA; deltas have none.")
    measured_by: Mapping[str, tuple[str, ...]] = Field(
        default={}, description="By metric: the tags that it is the mean of, or the model that measures it."
    )
    not_measured: tuple[str, ...] = Field(default=(), description="Tags that the tagger does not know.")
    look: tuple[LookWord, ...] = Field(default=(), description="All that could have measured the 3D look.")
    drawn_anyway: tuple[str, ...] = Field(default=(), description="Traits that the base draws by itself.")


def measure(samples: Samples, evidence: Evidence) -> Measurements:
    """Every metric of every epoch × weight; deltas are over the same prompts and seeds without the LoRA.

    A tag that a prompt asks for is left out on that prompt: it would be there without the LoRA's doing. A tag below
    the tagger's floor counts as 0. Intervals resample prompts, then seeds within them.

    Raises:
        DatasetError: a picture has no scores, or an epoch has a picture that the base model drew none for.
    """
    base = {(s.prompt_index, s.seed): s for s in samples.of(NO_LORA)}
    files = dict(samples.lora_files)
    alone = [(sample, sample) for sample in base.values()]
    own = [metric for metric in metrics.METRICS if not metric.over_base]
    wanted = (*evidence.traits, *LEAK_TAGS, *PLAIN_TAGS)
    return Measurements(
        epochs=tuple(
            _epoch(column, files[column.epoch], [(one, _partner(one, base)) for one in samples.of(*column)], evidence)
            for column in samples.columns
            if column.epoch in files
        ),
        base=_scores(own, alone, _pictures(alone, evidence), evidence),
        measured_by={each.key: each.measured_by(evidence) for each in metrics.METRICS if each.measured_by},
        not_measured=tuple(tag for tag in dict.fromkeys(wanted) if tag not in evidence.labels),
        look=evidence.look.tried,
        drawn_anyway=evidence.drawn_anyway,
    )


def _epoch(column: Column, file: str, pairs: Sequence[SamplePair], evidence: Evidence) -> EpochMetrics:
    drawn, pictures = [sample for sample, _ in pairs], _pictures(pairs, evidence)
    return EpochMetrics(
        epoch=column.epoch,
        weight=column.weight,
        file=file,
        scores=_scores(metrics.METRICS, pairs, pictures, evidence),
        nearest=min(evidence.nearest(drawn), key=lambda found: found.bits, default=None),
        closest=max(evidence.closest(drawn), key=lambda found: found.cosine, default=None),
        tags=tuple(_tag_deltas(pairs, evidence)),
        pictures=pictures,
    )


def _partner(sample: Sample, base: Mapping[tuple[int, int], Sample]) -> Sample:
    try:
        return base[sample.prompt_index, sample.seed]
    except KeyError:
        raise DatasetError(f"{sample.file}: was not drawn without the LoRA; sample the epochs again") from None


def _pictures(pairs: Sequence[SamplePair], evidence: Evidence) -> tuple[PictureScores, ...]:
    """Raises: DatasetError: a picture was not tagged."""
    together = {each.key: each.of_column(pairs, evidence) for each in metrics.METRICS if each.of_column}
    return tuple(
        PictureScores(
            prompt_index=pair[0].prompt_index,
            seed=pair[0].seed,
            base=pair[1].image,
            values={
                metric.key: value
                for metric in metrics.METRICS
                if (value := together[metric.key][number] if metric.of_column else _alone(metric, pair, evidence))
                is not None
            },
        )
        for number, pair in enumerate(pairs)
    )


def _alone(metric: Metric, pair: SamplePair, evidence: Evidence) -> float | None:
    return metric.of_sample(pair, evidence) if metric.of_sample else None


def _scores(
    which: Sequence[Metric], pairs: Sequence[SamplePair], pictures: Sequence[PictureScores], evidence: Evidence
) -> dict[str, Score]:
    prompts: dict[int, list[Sample]] = {}
    for sample, _ in pairs:
        prompts.setdefault(sample.prompt_index, []).append(sample)
    found = {}
    for metric in which:
        values = [(one.prompt_index, one.values[metric.key]) for one in pictures if metric.key in one.values]
        if metric.of_seeds:
            values = [(index, value) for index, own in prompts.items() for value in metric.of_seeds(own, evidence)]
        if values:
            found[metric.key] = nested([value for _, value in values], [(index,) for index, _ in values])
    return found


def _tag_deltas(pairs: Sequence[SamplePair], evidence: Evidence) -> Iterator[TagDelta]:
    measuring = [name for metric in metrics.METRICS if metric.measured_by for name in metric.measured_by(evidence)]
    for tag in evidence.known(measuring) if pairs else ():
        epoch, base = (fmean(probability(pair[side], evidence.table, tag) for pair in pairs) for side in (0, 1))
        yield TagDelta(tag=tag, base=base, epoch=epoch)
