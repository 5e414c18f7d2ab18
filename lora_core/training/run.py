"""A whole training: from sets and a base model to one LoRA file an epoch, resumable at any moment."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from lora_core.captions.emphasis import literal
from lora_core.device import is_synchronous, memory_format, numerics, pick_device, pick_dtype, set_kernels, use_threads
from lora_core.diffusion.chunks import chunked
from lora_core.diffusion.components import Components, load_components
from lora_core.errors import TrainingError
from lora_core.lora.inject import LoraLayer, fill, inject
from lora_core.lora.int8 import hold_in_eight_bits
from lora_core.pace import Work, timed
from lora_core.progress import Progress, silent
from lora_core.recipe import Process, Speed, Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store, Tree
from lora_core.store.files import remove_leftovers
from lora_core.training.batch import Validation
from lora_core.training.curves import Curves
from lora_core.training.epochs import LOSS_FILE, STATE_FILE, Run, Saved, TrainerParts, epoch_file
from lora_core.training.group import Group, process_group
from lora_core.training.latents import cached_latents, latent_masks
from lora_core.training.loop import Stepper
from lora_core.training.memory import (
    check_memory_saving,
    enable_gradient_checkpointing,
    linear_layers,
    read_ahead,
    settle_memory,
    texts_are_fixed,
)
from lora_core.training.metadata import Metadata
from lora_core.training.optim import build_optimizer, check_optimizer, rate_remarks
from lora_core.training.plan import Plan, plan, training_work
from lora_core.training.resume import Position, read_position
from lora_core.training.samples import Picture, TrainingSet, hold_out, pictures_of
from lora_core.training.word import word_layers

__all__ = ["Plan", "TrainingSet", "plan", "train"]

_PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_ENCODED_AT_ONCE = 8
"""On a GPU."""
_log = logging.getLogger(__name__)


def train(
    store: Store,
    base: CheckpointRef,
    sets: Sequence[TrainingSet],
    options: Training,
    *,
    name: str,
    clip_skip: int,
    device: str,
    key: str,
    trigger: str,
    progress: Progress,
    process: Process | None = None,
    curves: Path | None = None,
    saved: Saved | None = None,
    processes: int = 1,
    speed: Speed | None = None,
    start: LoraRef | None = None,
) -> LoraRef:
    """Train a LoRA, or go on where a killed run stopped; the result is the same to the byte on the same machine.

    Args:
        store: holds the pictures and the base model; the state lies in its work folder of `key`, and stays there.
        base: what to train on.
        sets: training and regularization sets.
        options: of the training.
        name: of the LoRA: files are NAME-000001.safetensors … and NAME.safetensors for the last epoch. Where a word is
            trained and no LoRA, the word.
        clip_skip: layer of the text encoder, counted from the end.
        device: "auto", "cpu", "cuda" or "mps".
        key: names this training; other inputs must have another key.
        trigger: told in the files' metadata.
        progress: told about every step, with the moving average of the loss.
        process: what the recipe says of the base's diffusion process; None: what the base says itself.
        curves: folder for a CSV and TensorBoard's files of every step; None: nobody watches.
        saved: shows every epoch as soon as it is saved; changes nothing that comes out.
        processes: how many share every step's pictures: one a GPU, or on the CPU one for some of its cores.
        speed: how a GPU is kept busy; None: the defaults.
        start: one LoRA file, whose values the training begins with; None: a LoRA that changes nothing.

    Returns:
        The files of all epochs, and loss.json with the moving average of the loss.

    Raises:
        DatasetError: there is nothing to train on.
        CaptionError: a picture without a caption.
        CheckpointError: the base cannot be loaded or is no Stable Diffusion 1, 2 or XL.
        TrainingError: the loss is not finite, memory ran out, or another process ended; the last good state is kept.
            The optimizer is not installed, or there are fewer GPUs than processes.
        LoraError: `start` is of another shape than what is trained.
        RecipeError: `block_lr` or the clip skip does not fit the base.
        Stopped: `progress` asked for the end; the state of the last step that is over is saved.
    """
    plan(sets, options)  # refuses sets of which nothing can be trained, before anything is loaded
    check_optimizer(options)
    check_memory_saving(options)
    job = Job(
        store, base, tuple(sets), options, name=name, clip_skip=clip_skip, device=pick_device(device), key=key,
        trigger=trigger, process=process, speed=speed or Speed(), start=start,
    )  # fmt: skip
    remove_leftovers(job.folder)
    position = read_position(job.state)
    if position is None or position.epoch < options.epochs:
        _check_gpus(job.device, processes)
        with _same_numerics(position, processes), _clear_when_memory_runs_out(options):
            run, work = _prepared(job, position, progress, processes)
            follow = partial(_follow, job, torch.get_num_threads())
            with (
                contextlib.closing(Curves(curves, run.step)) if curves else contextlib.nullcontext() as watched,
                process_group(processes, follow, job.device) as group,
            ):
                run.saved = saved
                run.finish(timed(progress, store, work), watched, group)
    names = [*(epoch_file(name, epoch, options.epochs) for epoch in range(options.epochs)), LOSS_FILE]
    return LoraRef(sha256=store.put_tree({each: job.folder / each for each in names}))


@dataclass(frozen=True)
class Job:
    """What is trained, as `train` was told."""

    store: Store
    base: CheckpointRef
    sets: tuple[TrainingSet, ...]
    options: Training
    name: str
    clip_skip: int
    device: torch.device
    key: str
    trigger: str
    process: Process | None
    speed: Speed
    start: LoraRef | None = None

    @property
    def folder(self) -> Path:
        """Where state and epochs lie."""
        return self.store.work_folder(self.key)

    @property
    def state(self) -> Path:
        """The state's file."""
        return self.folder / STATE_FILE


def _follow(job: Job, threads: int, group: Group) -> None:
    """One of the other processes: the same run from the same state, of which it writes nothing."""
    use_threads(threads)
    device = torch.device("cuda", group.rank) if job.device.type == "cuda" else job.device
    run, _ = _prepared(replace(job, device=device), read_position(job.state), silent, group.size)
    run.finish(silent, None, group)


def _check_gpus(device: torch.device, processes: int) -> None:
    if device.type == "mps" and processes > 1:
        raise TrainingError("[runtime] processes: Apple's MPS is one device; use 1")
    if device.type == "cuda" and processes > torch.cuda.device_count():
        raise TrainingError(
            f"[runtime] processes = {processes}: this machine shows {torch.cuda.device_count()} GPUs; one process a GPU"
        )


def _prepared(job: Job, position: Position | None, progress: Progress, processes: int) -> tuple[Run, Work]:
    """Models loaded, pictures encoded, LoRA in place: a run at its first step, or where its state was saved."""
    store = job.store
    set_kernels(job.device, deterministic=job.speed.deterministic)
    dtype = pick_dtype(job.options.precision, job.device)
    options = settle_memory(store.tree(job.base.sha256), job.options, job.device, dtype, job.process)
    away = options.memory_saving != "off"
    at_first = torch.device("cpu") if away else job.device
    components = load_components(store.tree(job.base.sha256), device=at_first, dtype=dtype, process=job.process)
    layout = plan(job.sets, options)
    sets, held = hold_out(job.sets, options.validation_share, options.seed)
    pictures = pictures_of(sets)
    measured = pictures_of(held) if held else ()
    chunks = _caption_chunks(pictures, components.tokenizers[0], options.max_token_length)
    for remark in rate_remarks(options):
        _log.warning("%s", remark)
    everything = (*pictures, *measured)
    at_once = 1 if is_synchronous(job.device) or job.speed.deterministic else _ENCODED_AT_ONCE
    components.vae.to(job.device)
    latents = cached_latents(store, components.vae, everything, options.seed, progress, layout.total_steps, at_once)
    latents = tuple(latent.to(job.device) for latent in latents)
    components.vae.to("cpu")
    reader = None
    if away and texts_are_fixed(options):
        captions = [", ".join(picture.tags) for picture in everything]
        reader = read_ahead(components, captions, options, job.device, job.clip_skip)
    components.unet.to(memory_format=memory_format(job.device))
    frozen = linear_layers(components)
    layers = word_layers(components, job.name) if options.trains_word else _lora_layers(components, options)
    if job.start is not None:
        fill(layers, *store.tree(job.start.sha256).values())
    if options.memory_saving == "int8":
        for layer in frozen:
            hold_in_eight_bits(layer)
    for model in (components.unet, *(() if reader else components.text_encoders)):
        model.to(job.device)
    if options.gradient_checkpointing:
        enable_gradient_checkpointing(components)
    optimizer = build_optimizer(layers, options)
    stepper = Stepper(
        components, layers, optimizer, options, clip_skip=job.clip_skip, dtype=dtype, total_steps=layout.total_steps,
        speed=job.speed, cache=store.compiled_folder(), reader=reader,
    )  # fmt: skip
    metadata = Metadata(
        name=job.name,
        trigger=job.trigger,
        base=Tree.model_validate(store.get_json(job.base.sha256)),
        architecture=components.architecture,
        prediction=components.prediction_type,
        zero_terminal_snr=components.zero_terminal_snr,
        clip_skip=job.clip_skip,
        precision=_PRECISIONS[dtype],
        sets=sets,
        pictures=pictures,
        layout=layout,
        options=options,
        caption_chunks=chunks,
        start="".join(store.tree(job.start.sha256)) if job.start else "",
    )
    masks = latent_masks(store, pictures) if options.masked_loss else ()
    validation = Validation(stepper.loss, measured, latents[len(pictures) :], options) if measured else None
    parts = TrainerParts(stepper, layers, optimizer, latents[: len(pictures)], masks, validation)
    run = Run(job.folder, metadata, parts, numerics())
    if position is not None:
        run.resume(position)
    return run, training_work(components, options, job.device, processes, layout)


def _lora_layers(components: Components, options: Training) -> tuple[LoraLayer, ...]:
    return inject(
        components,
        rank=options.rank,
        alpha=options.alpha,
        unet=options.unet_lr > 0,
        text_encoder=options.text_encoder_lr > 0,
        seed=options.seed,
        network=options.network,
    )


def _caption_chunks(pictures: Sequence[Picture], tokenizer: CLIPTokenizer, most_tokens: int) -> int:
    """Chunks of the longest caption; those that are not read to their end are said: nobody sees it in the result."""
    read = [chunked(tokenizer, literal(", ".join(picture.tags)), most_tokens) for picture in pictures]
    cut = [picture.entry.source for picture, its in zip(pictures, read, strict=True) if its.cut]
    if cut:
        some = ", ".join(list(dict.fromkeys(cut))[:3]) + (", …" if len(set(cut)) > 3 else "")
        told = "%d of %d captions have more than %d tokens; what comes behind them is not trained: %s"
        _log.warning(told, len(cut), len(pictures), most_tokens, some)
    return max(its.count for its in read)


@contextlib.contextmanager
def _same_numerics(position: Position | None, processes: int) -> Iterator[None]:
    """Compute with the thread count that a run began with, for sums are split among threads."""
    before = torch.get_num_threads()
    if position is None:
        use_threads(max(1, before // processes))
    else:
        use_threads(int(position.numerics["threads"]))
        if (now := numerics()) != position.numerics:
            _log.warning("resumed on another machine, last bits will differ: was %s, is %s", position.numerics, now)
    try:
        yield
    finally:
        use_threads(before)


@contextlib.contextmanager
def _clear_when_memory_runs_out(options: Training) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"out of memory at {options.resolution} px, one picture at a time; lower the resolution, or use "
            "gradient_checkpointing, precision 'bf16' or memory_saving 'int8'. The last good state is kept"
        ) from error
