"""A base's own pictures, and the same with a word in the prompt."""

import io
from collections.abc import Sequence

from PIL import Image

from lora_core.progress import Progress, silent
from lora_core.recipe import Sampling
from lora_core.refs import CheckpointRef
from lora_core.sampling.grid import Cell, contact_grid
from lora_core.sampling.sampler import Place, Planned, Sampler, SamplerConfig
from lora_core.sampling.samples import NO_LORA, Column, Samples
from lora_core.store import Store


def draw_words(
    store: Store,
    base: CheckpointRef,
    words: Sequence[str],
    options: Sampling,
    config: SamplerConfig,
    progress: Progress = silent,
) -> tuple[Samples, ...]:
    """Every prompt × seed without a word, then with each of them behind the prompt; kept picture by picture.

    Raises:
        CheckpointError: the base cannot be loaded.
    """
    sampler = Sampler(store, base, options, config)
    columns = [(Column(NO_LORA), ""), *((Column(f"word{number}"), f", {word}") for number, word in enumerate(words, 1))]
    drawn = []
    for number, (column, more) in enumerate(columns):
        prompts = [f"{prompt}{more}" for prompt in options.prompts]
        places = [Place(index, prompt, seed) for index, prompt in enumerate(prompts) for seed in options.seeds]

        def listen(done: int, total: int, note: str = "", number: int = number) -> None:
            progress(number * total + done, len(columns) * total, note)

        drawn.append(sampler.draw([Planned(column, None)], places, listen))
    return tuple(drawn)


def words_grid(store: Store, words: Sequence[str], drawn: Sequence[Samples]) -> Image.Image:
    """The first seed's pictures: without a word, and with each."""
    first = drawn[0].samples[0].seed
    rows = [(sample.prompt, f"seed {first}") for sample in drawn[0].samples if sample.seed == first]
    cells = [
        Cell(sample.prompt_index, column, Image.open(io.BytesIO(store.get_bytes(sample.image))))
        for column, samples in enumerate(drawn)
        for sample in samples.samples
        if sample.seed == first
    ]
    return contact_grid(rows, ["no word", *words], cells, "What the base draws when asked for the look")
