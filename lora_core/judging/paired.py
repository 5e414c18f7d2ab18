"""Two LoRAs beside each other, picture by picture: what a prompt and a noise do by themselves cancels out."""

from collections.abc import Mapping, Sequence
from typing import get_args

from lora_core.judging.bootstrap import Figure, nested
from lora_core.judging.picture import Measure, Picture

MEASURES: tuple[Measure, ...] = get_args(Measure)


def differences(one: Sequence[Picture], other: Sequence[Picture]) -> Mapping[Measure, Figure]:
    """The mean of other - one over the pictures that both drew from the same, with its 95 % bootstrap interval.

    A pair is two samples of one prompt and seed for which the base alone drew the very same picture, so prompt,
    noise, sampler and base are the same and only the LoRA differs. Prompts are resampled, then seeds within them
    (`nested`). Two intervals that overlap say little about two LoRAs; this one says whether they differ.

    Returns:
        By measure; one that no pair has a reading of is not there.
    """
    known = {(each.prompt_index, each.seed, each.base): each for each in one}
    pairs = [
        (mine, each) for each in other if (mine := known.get((each.prompt_index, each.seed, each.base))) is not None
    ]
    found = {measure: _difference(pairs, measure) for measure in MEASURES}
    return {measure: figure for measure, figure in found.items() if figure is not None}


def _difference(pairs: Sequence[tuple[Picture, Picture]], measure: Measure) -> Figure | None:
    values, places = [], []
    for one, other in pairs:
        before, after = one.value(measure), other.value(measure)
        if before is not None and after is not None:
            values.append(after - before)
            places.append((one.prompt_index,))
    return nested(values, places) if values else None
