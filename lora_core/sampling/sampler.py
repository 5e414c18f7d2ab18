"""A base model and how to draw with it: loaded once, when the first picture is missing; LoRAs are swapped in place."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lora_core.device import memory_format, pick_device
from lora_core.diffusion.components import Components, load_for_drawing
from lora_core.diffusion.engine import Engine
from lora_core.diffusion.read import read_source
from lora_core.lora.attach import attach, detach
from lora_core.lora.file import LoraFile, read_lora
from lora_core.pace import remember
from lora_core.progress import Progress
from lora_core.recipe import Process, Sampling, Speed
from lora_core.refs import CheckpointRef, Digest
from lora_core.sampling.generate import generate
from lora_core.sampling.infotext import infotext, png_bytes
from lora_core.sampling.samples import Column, Sample, Samples, picture_file
from lora_core.sampling.schedulers import settled, step_count
from lora_core.sampling.shot import Begin, Shot
from lora_core.sampling.work import drawing_work, drawn_size, loading_work
from lora_core.store import Store
from lora_core.store.memo import memo_key

_DEFAULT_SPEED = Speed()


@dataclass(frozen=True)
class EpochFile:
    """One epoch of a LoRA in the store."""

    epoch: int
    file: str
    sha256: str

    @property
    def name(self) -> str:
        """Without extension, as prompts call it."""
        return self.file.removesuffix(".safetensors")


@dataclass(frozen=True)
class Planned:
    """A column of the grid to be drawn: what it is called, and the LoRA it is drawn with, if any."""

    column: Column
    lora: EpochFile | None


@dataclass(frozen=True)
class Place:
    """A row of the grid to be drawn."""

    prompt_index: int
    prompt: str
    seed: int
    begin: Begin | None = None


def places_of(options: Sampling, trigger: str) -> list[Place]:
    """Every prompt × seed, the trigger in its place."""
    prompts = [prompt.replace("{trigger}", trigger) for prompt in options.prompts]
    return [Place(index, prompt, seed) for index, prompt in enumerate(prompts) for seed in options.seeds]


@dataclass(frozen=True)
class SamplerConfig:
    """How the base is read, and where it runs."""

    clip_skip: int
    process: Process
    device: str
    speed: Speed = _DEFAULT_SPEED


class Sampler:
    """Draws columns of pictures, and keeps every batch as soon as it is done."""

    def __init__(self, store: Store, base: CheckpointRef, options: Sampling, config: SamplerConfig) -> None:
        self.store, self.base, self.config = store, base, config
        source = read_source(store.tree(base.sha256), config.process)
        self._zero_terminal_snr = source.zero_terminal_snr
        self.options = settled(options, zero_terminal_snr=source.zero_terminal_snr)
        self._attached: tuple[EpochFile | None, float] = (None, 0.0)
        self._read: tuple[EpochFile, LoraFile] | None = None
        self._batches, self._drawn, self._seconds = 0, 0, 0.0

    @cached_property
    def components(self) -> Components:
        """The base model."""
        files, started = self.store.tree(self.base.sha256), time.monotonic()
        components = load_for_drawing(files, device=self.config.device, process=self.config.process)
        components.unet.to(memory_format=memory_format(components.unet.device))
        loading = loading_work(components, pick_device(self.config.device))
        remember(self.store, loading, time.monotonic() - started)
        return components

    @cached_property
    def engine(self) -> Engine:
        """Runs its U-Net. Nothing is compiled unless it has to be: every column's LoRA would need it anew."""
        speed = self.config.speed
        chosen = speed if speed.compile == "on" else speed.model_copy(update={"compile": "off"})
        what = f"drawing {self.components.architecture}"
        return Engine(self.components.unet, chosen, cache=self.store.compiled_folder(), what=what)

    def draw(
        self,
        columns: Sequence[Planned],
        places: Sequence[Place],
        progress: Progress,
        drawn: Callable[[list[Sample]], None] | None = None,
    ) -> Samples:
        """Every place in every column; `drawn` is given each column as soon as it is there.

        Raises:
            CheckpointError: the base cannot be loaded, or memory does not hold a single picture.
            LoraError: a LoRA cannot be read or does not fit the base.
        """
        options = self.options
        shots = [Shot(options.whole(one.prompt), options.negative, one.seed, one.begin) for one in places]
        each = len(shots) * step_count(self.options)
        samples: list[Sample] = []
        for number, planned in enumerate(columns):
            note = f"{planned.column.title}, {number + 1} of {len(columns)}"
            digests = self._column(planned, shots, _part(progress, number * each, len(columns) * each, note))
            column = [
                self._sample(planned.column, place, digest) for place, digest in zip(places, digests, strict=True)
            ]
            samples += column
            if drawn:
                drawn(column)
        files = {planned.column.epoch: planned.lora.file for planned in columns if planned.lora}
        return Samples(negative=self.options.negative, lora_files=tuple(files.items()), samples=tuple(samples))

    def _column(self, planned: Planned, shots: Sequence[Shot], progress: Progress) -> list[str]:
        """Digests of a column's pictures.

        Batches are always cut from the whole list, so that a killed sampling goes on with the same batches and draws
        the same pictures to the last bit.
        """
        digests: list[str] = []
        each = step_count(self.options)
        for start in range(0, len(shots), self.options.batch):
            batch = shots[start : start + self.options.batch]
            known = [digest for shot in batch if (digest := self._known(planned, shot))]
            heard = _part(progress, start * each, len(shots) * each)
            digests += known if len(known) == len(batch) else self._batch(planned, batch, heard)
            progress((start + len(batch)) * each, len(shots) * each)
        return digests

    def _batch(self, planned: Planned, batch: Sequence[Shot], progress: Progress) -> list[str]:
        self._attach(planned)
        started = time.monotonic()
        digests = []
        pictures = generate(self.components, batch, self.options, self.config.clip_skip, progress, self.engine)
        for shot, picture in zip(batch, pictures, strict=True):
            digests.append(self.store.put_bytes(png_bytes(picture, self._infotext(planned, shot))))
            self.store.set_record(self._key(planned, shot), digests[-1])
        self._remember_pace(len(batch), time.monotonic() - started)
        return digests

    def _remember_pace(self, pictures: int, seconds: float) -> None:
        """Now and then: over all batches but the first, in which kernels are chosen and compiled."""
        self._batches += 1
        if self._batches == 1:
            return
        self._drawn, self._seconds = self._drawn + pictures, self._seconds + seconds
        if self._batches.bit_count() == 1:
            device = pick_device(self.config.device)
            remember(self.store, drawing_work(self.components, self.options, device, self._drawn), self._seconds)

    def _attach(self, planned: Planned) -> None:
        """The column's LoRA at its weight; the file is read once for all its weights."""
        wanted = planned.lora, planned.column.weight
        if wanted == self._attached:
            return
        if planned.lora is None:
            detach(self.components)
        else:
            if self._read is None or self._read[0] != planned.lora:
                self._read = planned.lora, read_lora(self.store.path(planned.lora.sha256), planned.lora.file)
            attach(self.components, self._read[1], planned.column.weight)
        self._attached = wanted
        self.engine.forget()

    def _known(self, planned: Planned, shot: Shot) -> str | None:
        digest = self.store.record(self._key(planned, shot), Digest)
        return digest if digest is not None and self.store.has(digest) else None

    def _key(self, planned: Planned, shot: Shot) -> str:
        """The infotext names all options that change a picture, except the two files and how the base is read."""
        lora, process = planned.lora.sha256 if planned.lora else "", self.config.process
        told: list[object] = [] if process == Process() else [process.model_dump()]
        begun = [shot.begin.image, shot.begin.denoise] if shot.begin else []
        return memo_key("sampled picture", self.base.sha256, lora, self._infotext(planned, shot), *told, *begun)

    def _infotext(self, planned: Planned, shot: Shot) -> str:
        name = planned.lora.name if planned.lora else ""
        return infotext(
            shot,
            self.options,
            name,
            planned.column.weight,
            clip_skip=self.config.clip_skip,
            zero_terminal_snr=self._zero_terminal_snr,
        )

    def _sample(self, column: Column, place: Place, digest: str) -> Sample:
        width, height = drawn_size(self.options)
        return Sample(
            epoch=column.epoch,
            weight=column.weight,
            prompt_index=place.prompt_index,
            prompt=place.prompt,
            seed=place.seed,
            file=picture_file(column, place.prompt_index, place.seed),
            image=digest,
            width=width,
            height=height,
        )


def _part(progress: Progress, offset: int, whole: int, part_note: str = "") -> Progress:
    """The listener for a piece of the work that begins at `offset` of `whole`."""

    def listen(done: int, total: int, note: str = "") -> None:
        progress(offset + done, whole, part_note or note)

    return listen
