"""Figures of every epoch × weight, read from its samples. Each stands alone; nothing is folded into one number."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pydantic import Field

from lora_core.dataset import Frozen, TagTable
from lora_core.errors import DatasetError
from lora_core.judging.bootstrap import Figure, nested
from lora_core.judging.habits import LEAK_TAGS, PLAIN_TAGS, asks_for_a_place, tags_of_prompt
from lora_core.judging.likeness import Likeness, Nearest
from lora_core.sampling.samples import NO_LORA, Column, Sample, Samples

_NO_ANSWER = ("1girl", "1boy", "1other", "solo")


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
    traits: tuple[TagRise, ...] = ()
    looks: tuple[TagRise, ...] = ()


class Without(Frozen):
    """The same prompts and seeds without the LoRA: what rises are counted from."""

    obedience: Figure | None
    diversity: Figure | None
    copying: Figure | None


class Figures(Frozen):
    """What was read from all samples, column by column."""

    epochs: tuple[EpochFigures, ...]
    without: Without
    traits: tuple[str, ...] = Field(description="The traits that were measured.")
    habits: tuple[str, ...] = Field(description="The framings and poses that were measured.")
    look_tags: tuple[str, ...] = Field(description="The tags of the 3D look that were measured.")
    not_measured: tuple[str, ...] = Field(description="Tags that the tagger does not know.")


@dataclass(frozen=True)
class Evidence:
    """All that is known of the samples.

    Attributes:
        table: the tagger's scores.
        labels: tags that the tagger knows.
        likeness: distances between pictures.
        traits: what the character is.
        habits: what its screenshots have in common besides.
        copy_bits: a sample this near to a screenshot is a copy.
        second: image digest → probability of the look by a second opinion; empty: there is none.
    """

    table: TagTable
    labels: Collection[str]
    likeness: Likeness
    traits: tuple[str, ...]
    habits: tuple[str, ...] = ()
    copy_bits: int = 32
    second: Mapping[str, float] | None = None

    def known(self, tags: Sequence[str]) -> tuple[str, ...]:
        """The tags that can be measured, each once."""
        return tuple(tag for tag in dict.fromkeys(tags) if tag in self.labels)


Pair = tuple[Sample, Sample]
"""A sample, and the one of the same prompt and seed without the LoRA."""


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
    return Figures(
        epochs=tuple(epochs),
        without=Without(
            obedience=_obedience(drawn, evidence),
            diversity=_diversity(drawn, evidence),
            copying=_copying(drawn, evidence),
        ),
        traits=evidence.known(evidence.traits),
        habits=evidence.known(evidence.habits),
        look_tags=evidence.known(LEAK_TAGS),
        not_measured=tuple(tag for tag in dict.fromkeys(wanted) if tag not in evidence.labels),
    )


def _column(column: Column, file: str, pairs: Sequence[Pair], evidence: Evidence) -> EpochFigures:
    table, traits, looks = evidence.table, evidence.known(evidence.traits), evidence.known(LEAK_TAGS)
    drawn = [sample for sample, _ in pairs]
    return EpochFigures(
        epoch=column.epoch,
        weight=column.weight,
        file=file,
        identity=_rise(pairs, table, _not_asked(traits)),
        leak=_rise(pairs, table, _not_asked(looks)),
        background=_rise(pairs, table, _beside_a_place(evidence.known(PLAIN_TAGS))),
        habits=_rise(pairs, table, _not_asked(evidence.known(evidence.habits))),
        obedience=_obedience(drawn, evidence),
        copying=_copying(drawn, evidence),
        nearest=min(_nearest(drawn, evidence), key=lambda found: found.bits, default=None),
        diversity=_diversity(drawn, evidence),
        second=_second(pairs, evidence),
        traits=_tag_rises(pairs, table, traits),
        looks=_tag_rises(pairs, table, (*looks, *evidence.known(PLAIN_TAGS))),
    )


def probability(sample: Sample, table: TagTable, tag: str) -> float:
    """What the tagger gives a general tag on a sample; 0 below its floor.

    Raises:
        DatasetError: the picture was not tagged.
    """
    if sample.image not in table.images:
        raise DatasetError(f"{sample.file}: no tagger scores for this sample; tag the samples again")
    return table.images[sample.image].general.get(tag, 0.0)


def _partner(sample: Sample, base: Mapping[tuple[int, int], Sample]) -> Sample:
    try:
        return base[sample.prompt_index, sample.seed]
    except KeyError:
        raise DatasetError(f"{sample.file}: was not drawn without the LoRA; sample the epochs again") from None


Counts = Callable[[tuple[str, ...]], list[str]]
"""From a prompt's tags to the tags that count on it."""


def _not_asked(tags: Sequence[str]) -> Counts:
    return lambda asked: [tag for tag in tags if tag not in asked]


def _beside_a_place(tags: Sequence[str]) -> Counts:
    return lambda asked: list(tags) if asks_for_a_place(asked) else []


def _rise(pairs: Sequence[Pair], table: TagTable, counts: Counts) -> Figure | None:
    """Mean over tags first, then over pictures, so that every prompt × seed is one value."""
    values = []
    for drawn, base in pairs:
        tags = counts(tags_of_prompt(drawn.prompt))
        if tags:
            rise = fmean(probability(drawn, table, tag) - probability(base, table, tag) for tag in tags)
            values.append((drawn, rise))
    return _figure(values)


def _obedience(drawn: Sequence[Sample], evidence: Evidence) -> Figure | None:
    """How many people there are is left out, and so is what the LoRA brings by itself."""
    values = []
    for sample in drawn:
        own = {*_NO_ANSWER, *evidence.traits, *LEAK_TAGS}
        asked = [tag for tag in evidence.known(tags_of_prompt(sample.prompt)) if tag not in own]
        if asked:
            values.append((sample, fmean(probability(sample, evidence.table, tag) for tag in asked)))
    return _figure(values)


def _copying(drawn: Sequence[Sample], evidence: Evidence) -> Figure | None:
    nearest = _nearest(drawn, evidence)
    return _figure(
        [(sample, float(found.bits <= evidence.copy_bits)) for sample, found in zip(drawn, nearest, strict=False)]
    )


def _nearest(drawn: Sequence[Sample], evidence: Evidence) -> list[Nearest]:
    found = evidence.likeness.nearest
    return [found[sample.image] for sample in drawn] if found else []


def _diversity(drawn: Sequence[Sample], evidence: Evidence) -> Figure | None:
    """Pairs of seeds within each prompt; None with one seed."""
    prompts: dict[int, list[Sample]] = {}
    for sample in drawn:
        prompts.setdefault(sample.prompt_index, []).append(sample)
    return _figure(
        [
            (own[0], distance)
            for own in prompts.values()
            for distance in evidence.likeness.spread([sample.image for sample in own])
        ]
    )


def _second(pairs: Sequence[Pair], evidence: Evidence) -> Figure | None:
    seen = evidence.second
    return _figure([(drawn, seen[drawn.image] - seen[base.image]) for drawn, base in pairs]) if seen else None


def _figure(values: Sequence[tuple[Sample, float]]) -> Figure | None:
    if not values:
        return None
    return nested([value for _, value in values], [(sample.prompt_index,) for sample, _ in values])


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
