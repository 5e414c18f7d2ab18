"""A base's own pictures, and the same with a word in the prompt."""

import io
from collections.abc import Mapping, Sequence

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
) -> Mapping[str, Samples]:
    """Every prompt × seed without a word (""), then with each of them behind the prompt; kept picture by picture.

    Raises:
        CheckpointError: the base cannot be loaded.
    """
    sampler = Sampler(store, base, options, config)
    drawn = {}
    for number, word in enumerate(every := ("", *words)):
        column = Column(f"with {word}" if word else NO_LORA)
        prompts = [f"{prompt}, {word}" if word else prompt for prompt in options.prompts]
        places = [Place(index, prompt, seed) for index, prompt in enumerate(prompts) for seed in options.seeds]

        def listen(done: int, total: int, note: str = "", number: int = number) -> None:
            progress(number * total + done, len(every) * total, note)

        drawn[word] = sampler.draw([Planned(column, None)], places, listen)
    return drawn


def words_grid(store: Store, drawn: Mapping[str, Samples]) -> Image.Image:
    """The first seed's pictures: without a word, and with each."""
    first = drawn[""].samples[0].seed
    rows = [(sample.prompt, f"seed {first}") for sample in drawn[""].samples if sample.seed == first]
    cells = [
        Cell(sample.prompt_index, column, Image.open(io.BytesIO(store.get_bytes(sample.image))))
        for column, samples in enumerate(drawn.values())
        for sample in samples.samples
        if sample.seed == first
    ]
    return contact_grid(
        rows, [word or "no word" for word in drawn], cells, "What the base draws when asked for the look"
    )
