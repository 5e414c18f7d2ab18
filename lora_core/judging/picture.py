"""What one sample says: every figure is the mean of these, and two LoRAs are compared picture by picture."""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.judging.evidence import Evidence, Pair, probability
from lora_core.judging.habits import PLAIN_TAGS, asks_for_a_place, tags_of_prompt
from lora_core.recipe import LEAK_TAGS
from lora_core.refs import Digest
from lora_core.sampling.samples import Sample

Measure = Literal[
    "identity", "leak", "background", "habits", "copying", "obedience", "second", "copying_cosine", "likeness"
]  # fmt: skip
"""What can be read off one picture; diversity takes two."""

_NO_ANSWER = ("1girl", "1boy", "1other", "solo")


class Picture(Frozen):
    """One sample's readings; None: the measure says nothing of this prompt."""

    prompt_index: int
    seed: int
    base: Digest = Field(description="The picture of the same prompt and seed without the LoRA.")
    identity: float | None
    leak: float | None
    background: float | None
    habits: float | None
    copying: float | None
    obedience: float | None
    second: float | None
    copying_cosine: float | None = None
    likeness: float | None = None

    def value(self, measure: Measure) -> float | None:
        """One reading."""
        found: float | None = getattr(self, measure)
        return found


def of_picture(pair: Pair, evidence: Evidence) -> Picture:
    """What a sample says beside its base picture.

    Raises:
        DatasetError: one of the two was not tagged.
    """
    drawn, base = pair
    asked = tags_of_prompt(drawn.prompt)
    plain = evidence.known(PLAIN_TAGS) if asks_for_a_place(asked) else ()
    return Picture(
        prompt_index=drawn.prompt_index,
        seed=drawn.seed,
        base=base.image,
        identity=_rise(pair, evidence, _not_asked(evidence.traits, asked)),
        leak=_rise(pair, evidence, _not_asked(LEAK_TAGS, asked)),
        background=_rise(pair, evidence, plain),
        habits=_rise(pair, evidence, _not_asked(evidence.habits, asked)),
        copying=_copying(drawn, evidence),
        obedience=_obedience(drawn, evidence, asked),
        second=evidence.second[drawn.image] - evidence.second[base.image] if evidence.second else None,
        copying_cosine=_copying_cosine(drawn, evidence),
        likeness=_likeness(pair, evidence),
    )


def _not_asked(tags: Sequence[str], asked: Sequence[str]) -> list[str]:
    return [tag for tag in tags if tag not in asked]


def _rise(pair: Pair, evidence: Evidence, tags: Sequence[str]) -> float | None:
    """Mean over the tags that the tagger knows."""
    known, (drawn, base), table = evidence.known(tags), pair, evidence.table
    if not known:
        return None
    return fmean(probability(drawn, table, tag) - probability(base, table, tag) for tag in known)


def _obedience(drawn: Sample, evidence: Evidence, asked: Sequence[str]) -> float | None:
    """How many people there are is left out, and so is what the LoRA brings by itself."""
    own = {*_NO_ANSWER, *evidence.traits, *LEAK_TAGS}
    known = evidence.known([tag for tag in asked if tag not in own])
    return fmean(probability(drawn, evidence.table, tag) for tag in known) if known else None


def _copying(drawn: Sample, evidence: Evidence) -> float | None:
    nearest = evidence.nearest([drawn])
    return float(nearest[0].bits <= evidence.copy_bits) if nearest else None


def _copying_cosine(drawn: Sample, evidence: Evidence) -> float | None:
    closest = evidence.closest([drawn])
    return float(closest[0].cosine >= evidence.copy_cosine) if closest else None


def _likeness(pair: Pair, evidence: Evidence) -> float | None:
    if not evidence.embedded or not evidence.embedded.mean:
        return None
    drawn, base = (evidence.embedded.mean[sample.image] for sample in pair)
    return drawn - base
