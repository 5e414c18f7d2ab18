"""What a training will do and how much memory it will take, before it starts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, prod
from pathlib import Path

import torch

from lora_core.captions.tags import spaced
from lora_core.device import pick_device, pick_dtype
from lora_core.diffusion.components import Components, load_components
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
        outfit: what the character wears in it; "": nothing that has words of its own.
    """

    pictures: int
    regularization: bool
    resolution_px: int
    repeats: int
    samples: int
    effective_repeats: tuple[int, int]
    used: int
    used_in_run: int
    outfit: str = ""


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
        outfit=spaced(each.outfit),
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
