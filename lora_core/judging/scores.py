"""How much of the character and how much of the 3D look samples show, as the tagger reads them."""

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lora_core.dataset import Frozen, TagTable
from lora_core.errors import DatasetError
from lora_core.sampling.samples import NO_LORA, Sample, Samples

LEAK_TAGS = ("realistic", "3d", "nose", "lips")
_RESAMPLES = 2000
_LEVEL = 0.95
_SEED = 20240731


class Figure(Frozen):
    """A mean over prompts × seeds with its bootstrap interval."""

    mean: float
    low: float
    high: float
    samples: int = Field(ge=1, description="Prompts × seeds behind the mean.")


class TagRise(Frozen):
    """One tag's mean probability in an epoch's samples and in the base model's own."""

    tag: str
    base: float
    epoch: float


class EpochFigures(Frozen):
    """What was read from one epoch's samples."""

    epoch: str
    file: str
    identity: Figure | None = Field(description="Rise of the traits over the base model; None: no trait measurable.")
    leak: Figure | None = Field(description="Rise of the 3D look over the base model; None: no such tag measurable.")
    traits: tuple[TagRise, ...]
    looks: tuple[TagRise, ...]


class Figures(Frozen):
    """What was read from all samples, epoch by epoch."""

    epochs: tuple[EpochFigures, ...]
    traits: tuple[str, ...] = Field(description="The traits that were measured.")
    look_tags: tuple[str, ...] = Field(description="The tags of the 3D look that were measured.")
    not_measured: tuple[str, ...] = Field(description="Tags that the tagger does not know.")


def measure(samples: Samples, table: TagTable, *, traits: tuple[str, ...], labels: Collection[str]) -> Figures:
    """Identity and leak of every epoch, each as the rise over the same prompts and seeds without the LoRA.

    A tag that a prompt asks for is left out on that prompt: it would be there without the LoRA's doing. A tag below
    the tagger's floor counts as 0.

    Args:
        samples: What was drawn; its first column is the one without a LoRA.
        table: The tagger's scores of the pictures.
        traits: Canonical tags of what the character is: those that were taken out of its captions.
        labels: The canonical tags that the tagger knows.

    Raises:
        DatasetError: a picture has no scores, or an epoch has a picture that the base model drew none for.
    """
    wanted = (*traits, *LEAK_TAGS)
    known = tuple(tag for tag in dict.fromkeys(traits) if tag in labels)
    look_tags = tuple(tag for tag in LEAK_TAGS if tag in labels)
    base = {(s.prompt_index, s.seed): s for s in samples.of(NO_LORA)}
    epochs = []
    for epoch, file in samples.lora_files:
        pairs = [(_partner(sample, base), sample) for sample in samples.of(epoch)]
        epochs.append(
            EpochFigures(
                epoch=epoch,
                file=file,
                identity=_rise(pairs, table, known),
                leak=_rise(pairs, table, look_tags),
                traits=_tag_rises(pairs, table, known),
                looks=_tag_rises(pairs, table, look_tags),
            )
        )
    return Figures(
        epochs=tuple(epochs),
        traits=known,
        look_tags=look_tags,
        not_measured=tuple(tag for tag in dict.fromkeys(wanted) if tag not in labels),
    )


def mean_of_tag(samples: Sequence[Sample], table: TagTable, tag: str) -> Figure:
    """The mean probability of one tag over pictures, with its interval."""
    return bootstrap([probability(sample, table, tag) for sample in samples])


def probability(sample: Sample, table: TagTable, tag: str) -> float:
    """What the tagger gives a general tag on a sample; 0 below its floor.

    Raises:
        DatasetError: the picture was not tagged.
    """
    if sample.image not in table.images:
        raise DatasetError(f"{sample.file}: no tagger scores for this sample; tag the samples again")
    return table.images[sample.image].general.get(tag, 0.0)


def bootstrap(values: Sequence[float]) -> Figure:
    """Mean and percentile interval of 95 % over 2,000 resamples with replacement (Efron 1979), seed fixed.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no value to take the mean of")
    data: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(_SEED).integers(0, len(data), size=(_RESAMPLES, len(data)))
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(data[picks].mean(axis=1), [tail, 1 - tail])
    return Figure(mean=float(data.mean()), low=float(low), high=float(high), samples=len(data))


def tags_of_prompt(prompt: str) -> tuple[str, ...]:
    """The canonical tags that a prompt names: split at commas, spaces to underscores."""
    return tuple(part.strip().lower().replace(" ", "_") for part in prompt.split(",") if part.strip())


def _partner(sample: Sample, base: Mapping[tuple[int, int], Sample]) -> Sample:
    try:
        return base[sample.prompt_index, sample.seed]
    except KeyError:
        raise DatasetError(f"{sample.file}: was not drawn without the LoRA; sample the epochs again") from None


def _rise(pairs: Sequence[tuple[Sample, Sample]], table: TagTable, tags: Sequence[str]) -> Figure | None:
    """Mean over tags first, then over pictures, so that every prompt × seed is one value."""
    values = []
    for base, drawn in pairs:
        asked_for = tags_of_prompt(drawn.prompt)
        free = [tag for tag in tags if tag not in asked_for]
        if free:
            values.append(fmean(probability(drawn, table, tag) - probability(base, table, tag) for tag in free))
    return bootstrap(values) if values else None


def _tag_rises(pairs: Sequence[tuple[Sample, Sample]], table: TagTable, tags: Sequence[str]) -> tuple[TagRise, ...]:
    return tuple(
        TagRise(
            tag=tag,
            base=fmean(probability(base, table, tag) for base, _ in pairs),
            epoch=fmean(probability(drawn, table, tag) for _, drawn in pairs),
        )
        for tag in tags
        if pairs
    )
