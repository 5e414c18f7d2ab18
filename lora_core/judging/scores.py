"""Figures of every epoch × weight, read from its samples. Each stands alone; nothing is folded into one number."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from pydantic import Field

from lora_core.dataset import Frozen, TagTable
from lora_core.errors import DatasetError
from lora_core.judging.bootstrap import Figure, nested
from lora_core.judging.embedded import Closest
from lora_core.judging.evidence import Evidence, Pair, probability
from lora_core.judging.habits import PLAIN_TAGS
from lora_core.judging.likeness import Nearest
from lora_core.judging.picture import Measure, Picture, of_picture
from lora_core.recipe import LEAK_TAGS
from lora_core.sampling.samples import NO_LORA, Column, Sample, Samples


class TagRise(Frozen):
    """One tag's mean probability in an epoch's samples and in the base model's own."""

    tag: str
    base: float
    epoch: float


class EpochFigures(Frozen):
    """What was read from the samples of one epoch at one weight; None: not measurable with these prompts or tags."""

    epoch: str
    weight: float
    file: str
    identity: Figure | None = Field(description="Rise of the traits over the base model.")
    leak: Figure | None = Field(description="Rise of the 3D look over the base model.")
    background: Figure | None = Field(description="Rise of plain backgrounds where another was asked for.")
    habits: Figure | None = Field(description="Rise of the screenshots' framings and poses where not asked for.")
    obedience: Figure | None = Field(description="Mean probability of what the prompts ask for.")
    copying: Figure | None = Field(description="Share of samples that are nearly a screenshot.")
    nearest: Nearest | None = Field(description="The closest of all samples to a screenshot.")
    diversity: Figure | None = Field(description="Mean distance between seeds of one prompt: 0 same, 1 unrelated.")
    second: Figure | None = Field(default=None, description="Rise of the look by the second opinion.")
    copying_cosine: Figure | None = Field(
        default=None, description="Share of samples that the embedder sees as nearly a screenshot."
    )
    closest: Closest | None = Field(default=None, description="The closest of all samples to a screenshot by it.")
    likeness: Figure | None = Field(
        default=None, description="Rise of the mean cosine to the screenshots over the base model."
    )
    traits: tuple[TagRise, ...] = ()
    looks: tuple[TagRise, ...] = ()
    pictures: tuple[Picture, ...] = Field(default=(), repr=False, description="What the figures are the means of.")


class Without(Frozen):
    """The same prompts and seeds without the LoRA: what rises are counted from."""

    obedience: Figure | None
    diversity: Figure | None
    copying: Figure | None
    copying_cosine: Figure | None = None


class Figures(Frozen):
    """What was read from all samples, column by column."""

    epochs: tuple[EpochFigures, ...]
    without: Without
    traits: tuple[str, ...] = Field(description="The traits that were measured.")
    habits: tuple[str, ...] = Field(description="The framings and poses that were measured.")
    look_tags: tuple[str, ...] = Field(description="The tags of the 3D look that were measured.")
    not_measured: tuple[str, ...] = Field(description="Tags that the tagger does not know.")
    embedder: tuple[str, ...] = Field(default=(), description="Digest of the embedder's files, if there was one.")


def measure(samples: Samples, evidence: Evidence) -> Figures:
    """Every figure of every epoch × weight; rises are over the same prompts and seeds without the LoRA.

    A tag that a prompt asks for is left out on that prompt: it would be there without the LoRA's doing. A tag below
    the tagger's floor counts as 0. Intervals resample prompts, then seeds within them.

    Raises:
        DatasetError: a picture has no scores, or an epoch has a picture that the base model drew none for.
    """
    base = {(s.prompt_index, s.seed): s for s in samples.of(NO_LORA)}
    wanted = (*evidence.traits, *LEAK_TAGS, *PLAIN_TAGS)
    files = dict(samples.lora_files)
    epochs = []
    for column in samples.columns:
        if column.epoch in files:
            pairs = [(sample, _partner(sample, base)) for sample in samples.of(*column)]
            epochs.append(_column(column, files[column.epoch], pairs, evidence))
    drawn = list(base.values())
    alone = [of_picture((sample, sample), evidence) for sample in drawn]
    return Figures(
        epochs=tuple(epochs),
        without=Without(
            obedience=mean_of(alone, "obedience"),
            diversity=_diversity(drawn, evidence),
            copying=mean_of(alone, "copying"),
            copying_cosine=mean_of(alone, "copying_cosine"),
        ),
        traits=evidence.known(evidence.traits),
        habits=evidence.known(evidence.habits),
        look_tags=evidence.known(LEAK_TAGS),
        not_measured=tuple(tag for tag in dict.fromkeys(wanted) if tag not in evidence.labels),
        embedder=(evidence.embedded.embedder,) if evidence.embedded else (),
    )


def mean_of(pictures: Sequence[Picture], measure: Measure) -> Figure | None:
    """The mean over the pictures that the measure says anything of; None: it says nothing of any."""
    found = [(each, value) for each in pictures if (value := each.value(measure)) is not None]
    return _figure([value for _, value in found], [each.prompt_index for each, _ in found])


def _column(column: Column, file: str, pairs: Sequence[Pair], evidence: Evidence) -> EpochFigures:
    table, traits, looks = evidence.table, evidence.known(evidence.traits), evidence.known(LEAK_TAGS)
    drawn = [sample for sample, _ in pairs]
    pictures = tuple(of_picture(pair, evidence) for pair in pairs)
    return EpochFigures(
        epoch=column.epoch,
        weight=column.weight,
        file=file,
        identity=mean_of(pictures, "identity"),
        leak=mean_of(pictures, "leak"),
        background=mean_of(pictures, "background"),
        habits=mean_of(pictures, "habits"),
        obedience=mean_of(pictures, "obedience"),
        copying=mean_of(pictures, "copying"),
        nearest=min(evidence.nearest(drawn), key=lambda found: found.bits, default=None),
        diversity=_diversity(drawn, evidence),
        second=mean_of(pictures, "second"),
        copying_cosine=mean_of(pictures, "copying_cosine"),
        closest=max(evidence.closest(drawn), key=lambda found: found.cosine, default=None),
        likeness=mean_of(pictures, "likeness"),
        traits=_tag_rises(pairs, table, traits),
        looks=_tag_rises(pairs, table, (*looks, *evidence.known(PLAIN_TAGS))),
        pictures=pictures,
    )


def _partner(sample: Sample, base: Mapping[tuple[int, int], Sample]) -> Sample:
    try:
        return base[sample.prompt_index, sample.seed]
    except KeyError:
        raise DatasetError(f"{sample.file}: was not drawn without the LoRA; sample the epochs again") from None


def _diversity(drawn: Sequence[Sample], evidence: Evidence) -> Figure | None:
    """Pairs of seeds within each prompt; None with one seed."""
    prompts: dict[int, list[str]] = {}
    for sample in drawn:
        prompts.setdefault(sample.prompt_index, []).append(sample.image)
    found = [(index, distance) for index, own in prompts.items() for distance in evidence.likeness.spread(own)]
    return _figure([distance for _, distance in found], [index for index, _ in found])


def _figure(values: Sequence[float], prompts: Sequence[int]) -> Figure | None:
    return nested(values, [(prompt,) for prompt in prompts]) if values else None


def _tag_rises(pairs: Sequence[Pair], table: TagTable, tags: Sequence[str]) -> tuple[TagRise, ...]:
    return tuple(
        TagRise(
            tag=tag,
            base=fmean(probability(base, table, tag) for _, base in pairs),
            epoch=fmean(probability(drawn, table, tag) for drawn, _ in pairs),
        )
        for tag in tags
        if pairs
    )
