"""Samplings: every epoch of a LoRA side by side, and the checks after the style stage and the merge."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lora_core.device import pick_device, pick_dtype
from lora_core.diffusion.components import Components, load_components
from lora_core.errors import LoraError
from lora_core.lora.attach import attach, detach
from lora_core.lora.file import read_lora
from lora_core.progress import Progress, silent
from lora_core.recipe import Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from lora_core.sampling.generate import Shot, generate
from lora_core.sampling.infotext import infotext, png_bytes
from lora_core.sampling.samples import NO_LORA, Sample, Samples, column_title, picture_file, save_samples
from lora_core.store import Store, Tree, canonical_json, digest_of

_VERSION = 1


@dataclass(frozen=True)
class EpochFile:
    """One epoch of a LoRA in the store."""

    epoch: int
    file: str
    sha256: str


@dataclass(frozen=True)
class _Column:
    """A column of the grid: a label, and the LoRA it is drawn with, if any."""

    label: str
    lora: EpochFile | None


def epoch_files(store: Store, lora: LoraRef) -> tuple[EpochFile, ...]:
    """The LoRA's files by epoch: `NAME-000001.safetensors` …, and `NAME.safetensors` as the last one.

    Raises:
        LoraError: the tree holds no LoRA file, or one that belongs to another LoRA.
    """
    tree = Tree.model_validate(store.get_json(lora.sha256))
    names = sorted((name for name in tree.files if name.endswith(".safetensors")), key=len)
    if not names:
        raise LoraError(f"LoRA {lora.sha256[:12]}…: holds no .safetensors file; train it again")
    last = names[0]
    numbers = {_number(name, last): name for name in names[1:]}
    if None in numbers:
        raise LoraError(
            f"LoRA {lora.sha256[:12]}…: got {numbers[None]} beside {last}; allowed are "
            f"{_stem(last)}-000001.safetensors and so on, one an epoch"
        )
    epochs = {number: name for number, name in numbers.items() if number is not None}
    epochs[max(epochs, default=0) + 1] = last
    return tuple(EpochFile(epoch, name, tree.files[name].sha256) for epoch, name in sorted(epochs.items()))


def sample_epochs(
    store: Store,
    base: CheckpointRef,
    lora: LoraRef,
    options: Sampling,
    *,
    clip_skip: int,
    device: str,
    trigger: str,
    progress: Progress = silent,
    process: Process | None = None,
) -> ReportRef:
    """Draw every prompt × seed without the LoRA and with each of its epochs, and a grid of it all.

    The base is loaded once, and only if a picture is missing; LoRAs are swapped in place. Every picture is kept as
    soon as its batch is done, so that a killed sampling goes on where it was. `process` is what the recipe says of the
    base's diffusion process.

    Returns:
        A tree of `samples/<none or epoch>/<prompt>-<seed>.png`, `grid.png` and `samples.json`.

    Raises:
        CheckpointError: the base cannot be loaded.
        LoraError: an epoch cannot be read or does not fit the base.
    """
    files = epoch_files(store, lora)
    columns = [_Column(NO_LORA, None), *(_Column(str(file.epoch), file) for file in files)]
    prompts = tuple(prompt.replace("{trigger}", trigger) for prompt in options.prompts)
    easel = _Easel(store, base, options, options.weight, clip_skip, device, process or Process())
    title = f"{_stem(files[-1].file)} · LoRA weight {options.weight:g}"
    return save_samples(store, easel.draw(columns, prompts, progress), title)


def sample_check(
    store: Store,
    base: CheckpointRef,
    lora: LoraRef | None,
    prompts: Sequence[str],
    options: Sampling,
    *,
    label: str,
    weight: float = 1.0,
    clip_skip: int,
    device: str,
    progress: Progress = silent,
    process: Process | None = None,
) -> ReportRef:
    """Draw a check: a base without and with a LoRA's last epoch, or, without a LoRA, a (merged) model alone.

    Args:
        store: Where the pictures go.
        base: The model to draw with.
        lora: The style LoRA, or None for the merged model.
        prompts: As they are drawn; the recipe's `style_prompts` for the merged model.
        options: Negative prompt, seeds, steps, sampler, size and batch.
        label: How the checked column is called, such as "style" or "merged".
        weight: The LoRA's strength.
        clip_skip: Layer of the text encoder, counted from the end.
        device: Name for `pick_device`.
        progress: Told after every step.
        process: What the recipe says of the base's diffusion process.

    Raises:
        CheckpointError: the base cannot be loaded.
        LoraError: the LoRA cannot be read or does not fit the base.
    """
    if lora is None:
        columns = [_Column(label, None)]
    else:
        columns = [_Column(NO_LORA, None), _Column(label, epoch_files(store, lora)[-1])]
    easel = _Easel(store, base, options, weight, clip_skip, device, process or Process())
    return save_samples(store, easel.draw(columns, tuple(prompts), progress), f"check: {label}")


class _Easel:
    """A base model and how to draw with it: loaded when the first picture is missing, LoRAs swapped in place."""

    def __init__(
        self,
        store: Store,
        base: CheckpointRef,
        options: Sampling,
        weight: float,
        clip_skip: int,
        device: str,
        process: Process,
    ) -> None:
        self.store = store
        self.base = base
        self.options = options
        self.weight = weight
        self.clip_skip = clip_skip
        self.device = device
        self.process = process
        self._attached: EpochFile | None = None

    @cached_property
    def components(self) -> Components:
        device = pick_device(self.device)
        files, dtype = self.store.tree(self.base.sha256), pick_dtype("auto", device)
        return load_components(files, device=device, dtype=dtype, process=self.process)

    def draw(self, columns: Sequence[_Column], prompts: Sequence[str], progress: Progress) -> Samples:
        """All columns, each with every prompt × seed."""
        places = [(index, seed) for index in range(len(prompts)) for seed in self.options.seeds]
        shots = [Shot(prompts[index], self.options.negative, seed) for index, seed in places]
        each = len(shots) * self.options.steps
        samples: list[Sample] = []
        for number, column in enumerate(columns):
            note = f"{column_title(column.label)}, {number + 1} of {len(columns)}"
            digests = self._column(column, shots, _part(progress, number * each, len(columns) * each, note))
            samples.extend(
                self._sample(column, index, shot, digest)
                for (index, _), shot, digest in zip(places, shots, digests, strict=True)
            )
        return Samples(
            negative=self.options.negative,
            weight=self.weight,
            lora_files=tuple((column.label, column.lora.file) for column in columns if column.lora),
            samples=tuple(samples),
        )

    def _column(self, column: _Column, shots: Sequence[Shot], progress: Progress) -> list[str]:
        """Digests of a column's pictures.

        Batches are always cut from the whole list, so that a killed sampling goes on with the same batches and draws
        the same pictures to the last bit.
        """
        digests: list[str] = []
        total = len(shots) * self.options.steps
        for start in range(0, len(shots), self.options.batch):
            batch = shots[start : start + self.options.batch]
            known = [digest for shot in batch if (digest := self._known(column, shot))]
            done = start * self.options.steps
            digests += known if len(known) == len(batch) else self._batch(column, batch, _part(progress, done, total))
            progress(done + len(batch) * self.options.steps, total)
        return digests

    def _batch(self, column: _Column, batch: Sequence[Shot], progress: Progress) -> list[str]:
        self._attach(column.lora)
        digests = []
        pictures = generate(self.components, batch, self.options, self.clip_skip, progress)
        for shot, picture in zip(batch, pictures, strict=True):
            digests.append(self.store.put_bytes(png_bytes(picture, self._infotext(column, shot))))
            self.store.set_record(self._key(column, shot), digests[-1])
        return digests

    def _attach(self, lora: EpochFile | None) -> None:
        if lora == self._attached:
            return
        if lora is None:
            detach(self.components)
        else:
            attach(self.components, read_lora(self.store.path(lora.sha256), lora.file), self.weight)
        self._attached = lora

    def _known(self, column: _Column, shot: Shot) -> str | None:
        digest = self.store.record(self._key(column, shot))
        return str(digest) if digest is not None and self.store.has(str(digest)) else None

    def _key(self, column: _Column, shot: Shot) -> str:
        """The infotext names all options that change a picture, except the two files and how the base is read."""
        lora = column.lora.sha256 if column.lora else ""
        told = [] if self.process == Process() else [self.process.model_dump()]
        facts = ["sample", _VERSION, self.base.sha256, lora, self._infotext(column, shot), *told]
        return digest_of(canonical_json(facts))

    def _infotext(self, column: _Column, shot: Shot) -> str:
        name = _stem(column.lora.file) if column.lora else ""
        return infotext(shot, self.options, name, self.weight, clip_skip=self.clip_skip)

    def _sample(self, column: _Column, prompt_index: int, shot: Shot, digest: str) -> Sample:
        return Sample(
            epoch=column.label,
            prompt_index=prompt_index,
            prompt=shot.prompt,
            seed=shot.seed,
            file=picture_file(column.label, prompt_index, shot.seed),
            image=digest,
            width=self.options.width,
            height=self.options.height,
        )


def _stem(file: str) -> str:
    return file.removesuffix(".safetensors")


def _number(file: str, last: str) -> int | None:
    """3 of `NAME-000003.safetensors` when the last file is `NAME.safetensors`; None of anything else."""
    match = re.fullmatch(re.escape(_stem(last)) + r"-(\d{6})\.safetensors", file)
    return int(match[1]) if match else None


def _part(progress: Progress, offset: int, whole: int, part_note: str = "") -> Progress:
    """The listener for a piece of the work that begins at `offset` of `whole`."""

    def listen(done: int, total: int, note: str = "") -> None:
        progress(offset + done, whole, part_note or note)

    return listen
