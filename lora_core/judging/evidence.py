"""What metrics are computed from, apart from the samples themselves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lora_core.dataset import TagTable
from lora_core.errors import DatasetError
from lora_core.judging.embedded import Closest, Embedded
from lora_core.judging.similarity import Nearest, Similarity
from lora_core.sampling.samples import Sample

SamplePair = tuple[Sample, Sample]
"""A sample, and the one of the same prompt and seed without the LoRA."""


@dataclass(frozen=True)
class Evidence:
    """What the tagger, the hashes, the models and the captions tell of the samples.

    Attributes:
        table: the tagger's scores.
        labels: tags that the tagger knows.
        similarity: distances between pictures.
        traits: what the character is.
        dataset_bias: framings and poses that its screenshots have in common.
        copy_bits: a sample this near to a screenshot is a copy.
        classifier: image digest → probability of the look by the auxiliary classifier; None: there is none.
        embedded: how near samples come to screenshots by an image encoder; None: there is none.
        copy_cosine: a sample this near to a screenshot by the encoder is a copy.
    """

    table: TagTable
    labels: Collection[str]
    similarity: Similarity
    traits: tuple[str, ...]
    dataset_bias: tuple[str, ...] = ()
    copy_bits: int = 32
    classifier: Mapping[str, float] | None = None
    embedded: Embedded | None = None
    copy_cosine: float = 0.95

    def known(self, tags: Sequence[str]) -> tuple[str, ...]:
        """The tags that can be measured, each once."""
        return tuple(tag for tag in dict.fromkeys(tags) if tag in self.labels)

    def nearest(self, drawn: Sequence[Sample]) -> list[Nearest]:
        """The screenshot most like each sample; nothing without screenshots."""
        found = self.similarity.nearest
        return [found[sample.image] for sample in drawn] if found else []

    def closest(self, drawn: Sequence[Sample]) -> list[Closest]:
        """The screenshot nearest to each sample by the encoder; nothing without an encoder or screenshots."""
        found = self.embedded.closest if self.embedded else {}
        return [found[sample.image] for sample in drawn] if found else []


def probability(sample: Sample, table: TagTable, tag: str) -> float:
    """What the tagger gives a general tag on a sample; 0 below its floor.

    Raises:
        DatasetError: the picture was not tagged.
    """
    if sample.image not in table.images:
        raise DatasetError(f"{sample.file}: no tagger scores for this sample; tag the samples again")
    return table.images[sample.image].general.get(tag, 0.0)
