"""Samplings: every epoch of a LoRA side by side, the checks after the style stage and the merge, and a plain folder."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_core.captions.tags import escaped
from lora_core.diffusion.components import load_for_drawing
from lora_core.errors import LoraError, OutputExistsError
from lora_core.lora.attach import attach
from lora_core.progress import Progress, silent
from lora_core.recipe import Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from lora_core.sampling.generate import generate
from lora_core.sampling.infotext import infotext, png_bytes
from lora_core.sampling.sampler import EpochFile, Place, Planned, Sampler, SamplerConfig, places_of
from lora_core.sampling.samples import NO_LORA, Column, save_samples
from lora_core.sampling.schedulers import settled
from lora_core.sampling.shot import Shot
from lora_core.store import Store, Tree
from lora_core.store.files import write_atomically

STYLE_PICTURES = 6
_PROBE_STEPS = 5
"""Of the style LoRA on the base: its words alone, with seeds 1, 2, …"""


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
    config: SamplerConfig,
    *,
    trigger: str,
    progress: Progress = silent,
    only: Column | None = None,
) -> ReportRef:
    """Draw every prompt × seed without the LoRA and with each of its epochs at each weight, and a grid of it all.

    The base is loaded once, and only if a picture is missing; LoRAs are swapped in place. Every picture is kept as
    soon as its batch is done, so that a killed sampling goes on where it was.

    Args:
        store: Where the pictures go.
        base: The model to draw with.
        lora: Its epochs.
        options: Prompts, seeds, weights and the rest.
        config: How the base is read, and where it runs.
        trigger: Put in the place of {trigger}.
        progress: Told after every step.
        only: One epoch at one weight instead of all.

    Returns:
        A tree of `samples/<none or epoch-wWEIGHT>/<prompt>-<seed>.png`, `grid.png` and `samples.json`.

    Raises:
        CheckpointError: the base cannot be loaded.
        LoraError: an epoch cannot be read or does not fit the base.
    """
    files = epoch_files(store, lora)
    columns = [Planned(Column(str(file.epoch), weight), file) for file in files for weight in options.weights]
    if only is not None:
        columns = [Planned(only, file) for file in files if str(file.epoch) == only.epoch]
    places = places_of(options, trigger)
    drawn = Sampler(store, base, options, config).draw([Planned(Column(NO_LORA), None), *columns], places, progress)
    return save_samples(store, drawn, files[-1].name)


def sample_style(
    store: Store,
    base: CheckpointRef,
    lora: LoraRef,
    words: str,
    options: Sampling,
    config: SamplerConfig,
    progress: Progress = silent,
) -> ReportRef:
    """Draw the style LoRA's own words alone, on the base without it and with its last epoch, at full weight.

    Raises:
        CheckpointError: the base cannot be loaded.
        LoraError: the LoRA cannot be read or does not fit the base.
    """
    columns = [Planned(Column(NO_LORA), None), Planned(Column("style", 1.0), epoch_files(store, lora)[-1])]
    places = [Place(0, escaped(words), seed) for seed in range(1, STYLE_PICTURES + 1)]
    return _check(store, base, columns, places, options, config, progress)


def sample_merged(
    store: Store,
    merged: CheckpointRef,
    prompts: Sequence[str],
    options: Sampling,
    config: SamplerConfig,
    progress: Progress = silent,
) -> ReportRef:
    """Draw each of the prompts once with the merged model, the first with seed 1, the second with seed 2 and so on.

    Raises:
        CheckpointError: the model cannot be loaded.
    """
    places = [Place(index, prompt, index + 1) for index, prompt in enumerate(prompts)]
    return _check(store, merged, [Planned(Column("merged"), None)], places, options, config, progress)


def probe_drawing(
    store: Store, base: CheckpointRef, options: Sampling, config: SamplerConfig, progress: Progress = silent
) -> None:
    """Draw two batches with few steps; the pace is kept (`lora_core.pace`).

    Args:
        store: one that remembers no pictures.
        base: The model to draw with.
        options: Size, batch and the rest.
        config: How the base is read, and where it runs.
        progress: Told after every step.

    Raises:
        CheckpointError: the base cannot be loaded.
    """
    few = options.model_copy(update={"steps": min(options.steps, _PROBE_STEPS), "hires": 1.0})
    places = [Place(0, "1girl, solo", seed) for seed in range(2 * options.batch)]
    Sampler(store, base, few, config).draw([Planned(Column(NO_LORA), None)], places, progress)


def _check(
    store: Store,
    base: CheckpointRef,
    columns: Sequence[Planned],
    places: Sequence[Place],
    options: Sampling,
    config: SamplerConfig,
    progress: Progress,
) -> ReportRef:
    """A check needs no fine pictures: no hires pass."""
    plain = options.model_copy(update={"hires": 1.0})
    drawn = Sampler(store, base, plain, config).draw(columns, places, progress)
    return save_samples(store, drawn, f"check: {columns[-1].column.epoch}")


def _stem(file: str) -> str:
    return file.removesuffix(".safetensors")


def _number(file: str, last: str) -> int | None:
    """3 of `NAME-000003.safetensors` when the last file is `NAME.safetensors`; None of anything else."""
    match = re.fullmatch(re.escape(_stem(last)) + r"-(\d{6})\.safetensors", file)
    return int(match[1]) if match else None


def sample_to_folder(
    base: Mapping[str, Path],
    lora: Path | None,
    options: Sampling,
    folder: Path,
    *,
    clip_skip: int,
    device: str,
    progress: Progress,
    process: Process | None = None,
) -> tuple[Path, ...]:
    """Draw every prompt with every seed into `folder` as PROMPT-SEED.png, counted from 1.

    The LoRA has the first of the options' weights. `process` is what is told of the base's diffusion process; None:
    what the base says itself.

    Returns:
        The files, each with its infotext.

    Raises:
        CheckpointError, LoraError: a model cannot be used.
        OutputExistsError: a name is taken by another picture; those before it are kept.
    """
    components = load_for_drawing(base, device=device, process=process)
    zero, weight = components.zero_terminal_snr, options.weights[0]
    options = settled(options, zero_terminal_snr=zero)
    if lora is not None:
        attach(components, lora, weight)
    named = {
        folder / f"{number}-{seed}.png": Shot(options.whole(prompt), options.negative, seed)
        for number, prompt in enumerate(options.prompts, start=1)
        for seed in options.seeds
    }
    pictures = generate(components, list(named.values()), options, clip_skip, progress)
    for (path, shot), picture in zip(named.items(), pictures, strict=True):
        name = lora.stem if lora else ""
        told = infotext(shot, options, name, weight, clip_skip=clip_skip, zero_terminal_snr=zero)
        data = png_bytes(picture, told)
        if path.exists() and path.read_bytes() != data:
            raise OutputExistsError(f"{path}: exists with another picture and is not overwritten; give another --out")
        write_atomically(path, data)
    return tuple(named)
