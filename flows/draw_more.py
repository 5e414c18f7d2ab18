"""Further pictures of a published LoRA: own prompts, with the epochs, weights and seeds that somebody names."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from flows.ending import form
from flows.place import AllowedFolders
from lora_core.report.published import find_published
from tasks import sample
from tasks.runtime import RunContext

Texts = Annotated[tuple[str, ...], Field(min_length=1)]


@form("draw-more")
def draw_more(
    result: str,
    prompts: Texts,
    epochs: tuple[int, ...] = (),
    weights: tuple[float, ...] = (),
    seeds: tuple[int, ...] = (),
) -> str:
    """Draw prompts with a published LoRA, as its samples were drawn, into its folder. Returns their folder.

    Args:
        result: Name of the folder in out/, such as "aiko-v2".
        prompts: What to draw; {trigger} stands for the LoRA's own word.
        epochs: With these epochs. Empty: with the one that was chosen.
        weights: At these weights. Empty: at the one that was chosen.
        seeds: Every prompt with every seed. Empty: 1.
    """
    place = AllowedFolders()
    published = find_published(Path(place.out), result)
    asked = published.further(tuple(prompts), tuple(epochs), tuple(weights), tuple(seeds))
    return sample.draw_more(published, asked, RunContext(store=place.store))
