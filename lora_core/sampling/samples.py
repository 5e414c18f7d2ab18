"""What was drawn, on paper: one record a picture, kept as `samples.json` beside the pictures."""

import json
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

from PIL import Image
from pydantic import Field

from lora_core.dataset import Entry, Frozen, Manifest
from lora_core.images.png import png_bytes
from lora_core.refs import Digest, ReportRef
from lora_core.sampling.grid import Cell, contact_grid
from lora_core.store import Store, Tree
from lora_core.store.digests import canonical_json

NO_LORA = "none"
GRID_FILE = "grid.png"
SAMPLES_FILE = "samples.json"


class Sample(Frozen):
    """One drawn picture."""

    epoch: str = Field(description="'none' without a LoRA, else the epoch's number; a check names its model here.")
    weight: float = Field(default=0, ge=0, description="The LoRA's strength; 0 where there is none.")
    prompt_index: int = Field(ge=0, description="Position of the prompt among the recipe's.")
    prompt: str = Field(description="The recipe's, the trigger filled in.")
    seed: int
    file: str = Field(description="The picture's name in the tree.")
    image: Digest
    width: int = Field(gt=0, description="Pixels.")
    height: int = Field(gt=0, description="Pixels.")


class Column(NamedTuple):
    """What a picture was drawn with: an epoch at a weight."""

    epoch: str
    weight: float = 0.0

    @property
    def title(self) -> str:
        """How it is called where a person reads it."""
        if self.epoch == NO_LORA:
            return "no LoRA"
        return f"epoch {self.epoch} · {self.weight:g}" if self.epoch.isdigit() else self.epoch

    @property
    def folder(self) -> str:
        """How it is called where a file system reads it."""
        return f"{self.epoch}-w{self.weight:g}" if self.epoch.isdigit() else self.epoch


class Samples(Frozen):
    """A whole sampling, columns in drawing order: without the LoRA first, then epoch by epoch, weight by weight."""

    negative: str
    lora_files: tuple[tuple[str, str], ...] = Field(description="Epoch → file of the LoRA, in drawing order.")
    samples: tuple[Sample, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """In drawing order, each once."""
        return tuple(dict.fromkeys(Column(sample.epoch, sample.weight) for sample in self.samples))

    @property
    def epochs(self) -> tuple[str, ...]:
        """In drawing order, each once."""
        return tuple(dict.fromkeys(sample.epoch for sample in self.samples))

    def of(self, epoch: str, weight: float | None = None) -> tuple[Sample, ...]:
        """An epoch's pictures, at one weight or at all of them."""
        return tuple(s for s in self.samples if s.epoch == epoch and weight in (None, s.weight))

    @property
    def seeds_by_prompt(self) -> tuple[tuple[int, int], ...]:
        """The rows, (prompt index, seed), in drawing order, each once."""
        return tuple(dict.fromkeys((sample.prompt_index, sample.seed) for sample in self.samples))


def picture_file(column: Column, prompt_index: int, seed: int) -> str:
    """A picture's name in the tree."""
    return f"samples/{column.folder}/{prompt_index}-{seed}.png"


def save_samples(store: Store, samples: Samples, title: str) -> ReportRef:
    """Keep the pictures, their list and a labelled grid of them as one tree."""
    files = {sample.file: store.path(sample.image) for sample in samples.samples}
    files[GRID_FILE] = store.path(store.put_bytes(png_bytes(samples_grid(store, samples, title))))
    files[SAMPLES_FILE] = store.path(store.put_bytes(canonical_json(samples.model_dump(mode="json"))))
    return ReportRef(sha256=store.put_tree(files))


def load_samples(store: Store, ref: ReportRef) -> Samples:
    """The list behind a sampling's ref."""
    tree = Tree.model_validate(store.get_json(ref.sha256))
    return Samples.model_validate(json.loads(store.get_bytes(tree.files[SAMPLES_FILE].sha256)))


def samples_manifest(samples: Samples) -> Manifest:
    """The pictures as a set, so that the tagger reads them as it reads screenshots."""
    return Manifest(
        entries=tuple(
            Entry(
                name=sample.file.removeprefix("samples/").removesuffix(".png").replace("/", "-"),
                source=sample.file,
                image=sample.image,
                width=sample.width,
                height=sample.height,
            )
            for sample in samples.samples
        )
    )


def samples_grid(store: Store, samples: Samples, title: str) -> Image.Image:
    """Rows are prompts × seeds, columns are epochs × weights with the one without a LoRA first."""
    prompts = {sample.prompt_index: sample.prompt for sample in samples.samples}
    rows = [(prompts[index], f"seed {seed}") for index, seed in samples.seeds_by_prompt]
    at = {pair: row for row, pair in enumerate(samples.seeds_by_prompt)}
    columns = {column: number for number, column in enumerate(samples.columns)}
    cells = (
        Cell(
            row=at[sample.prompt_index, sample.seed],
            column=columns[Column(sample.epoch, sample.weight)],
            picture=Image.open(BytesIO(store.get_bytes(sample.image))),
        )
        for sample in samples.samples
    )
    return contact_grid(rows, [column.title for column in samples.columns], cells, title)


def together(drawn: Sequence[Samples]) -> Samples:
    """All of these pictures as one sampling."""
    return drawn[0].model_copy(update={"samples": tuple(one for each in drawn for one in each.samples)})
