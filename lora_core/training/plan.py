"""What a training will do and how much memory it will take, before it starts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, prod
from pathlib import Path

import torch

from lora_core.device import pick_device, pick_dtype, training_memory_bytes
from lora_core.diffusion.components import Components, load_components
from lora_core.lora.base import targets
from lora_core.pace import Work, model_kind
from lora_core.recipe import Process, Training
from lora_core.training.samples import (
    Picture,
    TrainingSet,
    epoch_repeats,
    hold_out,
    pictures_of,
    samples_by_bucket,
)

_LATENT_PIXELS = 64
"""Pixels of the picture behind one of its latent."""


@dataclass(frozen=True)
class SetPlan:
    """One set's share.

    Attributes:
        pictures: in the set.
        regularization: whether it is shown beside the training pictures.
        resolution_px: at which it is trained.
        repeats: as asked for.
        samples: shown in the first epoch, repeats included.
        effective_repeats: the fewest and the most times that a picture of the set is shown in the first epoch.
        used: pictures shown in the first epoch.
        used_in_run: pictures shown in any epoch.
    """

    pictures: int
    regularization: bool
    resolution_px: int
    repeats: int
    samples: int
    effective_repeats: tuple[int, int]
    used: int
    used_in_run: int


@dataclass(frozen=True)
class BucketPlan:
    """One size in the first epoch; `batches` are steps of the optimizer."""

    size: tuple[int, int]
    samples: int
    batches: int


@dataclass(frozen=True)
class PlacedPicture:
    """At which size one picture is trained; sizes are (width, height) in pixels."""

    source: str
    size: tuple[int, int]
    bucket: tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """The whole training.

    Attributes:
        sets: in the order given.
        buckets: of the first epoch, sorted by size.
        pictures: image → bucket, set by set.
        epoch_steps: of every epoch. They can differ by a few when regularization pictures take turns.
        prior_loss_weight: factor on the loss of regularization pictures.
        megapixels: of all pictures in all steps.
        held_out: pictures that are measured and not trained.
    """

    sets: tuple[SetPlan, ...]
    buckets: tuple[BucketPlan, ...]
    pictures: tuple[PlacedPicture, ...]
    epoch_steps: tuple[int, ...]
    prior_loss_weight: float
    megapixels: float
    held_out: int = 0

    @property
    def samples_per_epoch(self) -> int:
        """Pictures that the first epoch shows, repeats and regularization included."""
        return sum(each.samples for each in self.sets)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the first epoch."""
        return self.epoch_steps[0]

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return sum(self.epoch_steps)


def plan(sets: Sequence[TrainingSet], options: Training) -> Plan:
    """Count everything; the trainer itself goes by this.

    Raises:
        DatasetError: there is nothing to train on.
        CaptionError: a picture without a caption.
    """
    sets, held = hold_out(sets, options.validation_share, options.seed)
    pictures = pictures_of(sets)
    epochs = list(epoch_repeats(pictures, options.epochs))
    buckets = samples_by_bucket(pictures, epochs[0])
    return Plan(
        sets=tuple(
            _set_plan(each, [[epoch[i] for i, p in enumerate(pictures) if p.set_index == index] for epoch in epochs])
            for index, each in enumerate(sets)
        ),
        buckets=tuple(
            BucketPlan(size, len(all_), ceil(len(all_) / options.step_batch)) for size, all_ in buckets.items()
        ),
        pictures=tuple(
            PlacedPicture(each.entry.source, (each.entry.width, each.entry.height), each.placement.bucket)
            for each in pictures
        ),
        epoch_steps=tuple(
            sum(ceil(len(members) / options.step_batch) for members in samples_by_bucket(pictures, repeats).values())
            for repeats in epochs
        ),
        prior_loss_weight=options.prior_loss_weight,
        megapixels=sum(
            steps * prod(shape) * _LATENT_PIXELS for shape, steps in steps_by_shape(pictures, options, 0).items()
        )
        / 1e6,
        held_out=sum(len(each.manifest.entries) for each in held),
    )


def steps_by_shape(pictures: Sequence[Picture], options: Training, first_epoch: int) -> Counter[tuple[int, int, int]]:
    """How many steps there are from the start of an epoch, by (pictures, height, width in latents)."""
    found: Counter[tuple[int, int, int]] = Counter()
    for repeats in islice(epoch_repeats(pictures, options.epochs), first_epoch, None):
        for (width, height), members in samples_by_bucket(pictures, repeats).items():
            whole, rest = divmod(len(members), options.step_batch)
            found[options.step_batch, height // 8, width // 8] += whole
            if rest:
                found[rest, height // 8, width // 8] += 1
    return +found


def _set_plan(each: TrainingSet, epochs: list[list[int]]) -> SetPlan:
    """Args: epochs: repeats of the set's pictures, epoch by epoch."""
    first = epochs[0]
    return SetPlan(
        pictures=len(first),
        regularization=each.regularization,
        resolution_px=each.resolution_px,
        repeats=each.repeats,
        samples=sum(first),
        effective_repeats=(min(first, default=0), max(first, default=0)),
        used=sum(times > 0 for times in first),
        used_in_run=sum(any(column) for column in zip(*epochs, strict=True)),
    )


_SAVED_MAPS = {"sd1": 360, "sd2": 360, "sdxl": 650}
"""Counted from the tensors that autograd saves in one pass of the full-size U-Nets with a LoRA of rank 32, in fp32 and
between 256 and 1024 px, attention computed without its matrix: 1.7 GiB for SD1.5 at 512 px, 12.6 GiB for SDXL at
1024 px.
"""
_MAPS_COMPUTED_TWICE = 100
"""With gradient checkpointing, from the memory that a pass at 512 px took: SD1.5 89 maps, SDXL 35."""
_NUMBER_BYTES = {"adamw": 16, "adamw8bit": 10, "lion": 12, "prodigy": 24, "adafactor": 9}
"""Of a trained number: its fp32 value and gradient, and what the optimizer keeps of it."""
_MOST_NUMBER_BYTES = max(_NUMBER_BYTES.values())
"""Of one that is named by its class: nobody knows."""
_SAVED_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
_AVERAGE_BYTES = 4
_HALF_PRECISION_SHARE = 1.5
"""Under autocast norms and sums are kept in fp32: counted likewise, 1.5 times as many maps of half the size."""


def memory_bytes(base: Mapping[str, Path], options: Training, device_name: str, process: Process | None = None) -> int:
    """A rough estimate for a base model and a recipe's training; nothing is loaded.

    Raises:
        CheckpointError: the base cannot be read, or cannot be trained as the recipe says.
    """
    dtype = pick_dtype(options.precision, pick_device(device_name))
    components = load_components(base, device=torch.device("meta"), dtype=dtype, process=process)
    return memory_of(components, options)


def memory_of(components: Components, options: Training) -> int:
    """The same for models that are there, on the meta device or any other; they are left as they are.

    Raises:
        CheckpointError: the base cannot be trained as the recipe says.
    """
    trained = _trained_numbers(components, options)
    number_bytes = _NUMBER_BYTES.get(options.optimizer, _MOST_NUMBER_BYTES) + _AVERAGE_BYTES * (options.ema_decay > 0)
    saved = _MAPS_COMPUTED_TWICE if options.gradient_checkpointing else _SAVED_MAPS[components.architecture]
    return training_memory_bytes(
        (components.unet, components.vae, *components.text_encoders),
        trained * number_bytes,
        pixels=options.resolution**2,
        batch=options.batch,
        width=components.unet.config["block_out_channels"][0],
        saved_maps=saved * (1 if components.unet.dtype == torch.float32 else _HALF_PRECISION_SHARE),
    )


def unloaded(base: Mapping[str, Path], device_name: str, process: Process | None) -> tuple[Components, torch.device]:
    """A base model without its weights, to count with, and the device that it would be on.

    Raises:
        CheckpointError: the base cannot be read.
    """
    device = pick_device(device_name)
    dtype = pick_dtype("auto", device)
    return load_components(base, device=torch.device("meta"), dtype=dtype, process=process), device


def training_work(components: Components, options: Training, device: torch.device, processes: int, plan: Plan) -> Work:
    """A whole training, as its pace is measured."""
    parts = "unet+text" if options.text_encoder_lr > 0 else "unet"
    recomputed = "checkpointing" if options.gradient_checkpointing else ""
    numbers = str(pick_dtype(options.precision, device))
    kind = (
        "train",
        *model_kind(components, device),
        numbers,
        parts,
        f"batch {options.batch}",
        recomputed,
        f"{processes}",
    )
    return Work(kind, plan.megapixels)


def disk_bytes(components: Components, options: Training) -> int:
    """What a training writes: a file for every epoch, and its state."""
    state_bytes = _NUMBER_BYTES.get(options.optimizer, _MOST_NUMBER_BYTES)
    number_bytes = _SAVED_BYTES[options.save_precision] * options.epochs + state_bytes
    return _trained_numbers(components, options) * number_bytes


def _trained_numbers(components: Components, options: Training) -> int:
    """Of all LoRA matrices together."""
    trained = 0
    for target in targets(
        components,
        options.network,
        rank=options.rank,
        alpha=options.alpha,
        unet=options.unet_lr > 0,
        text_encoder=options.text_encoder_lr > 0,
    ):
        model = components.unet if target.part == "unet" else components.text_encoders[target.part == "text_encoder_2"]
        outputs, *inputs = model.get_parameter(f"{target.path}.weight").shape
        trained += target.rank * (outputs + prod(inputs))
    return trained
