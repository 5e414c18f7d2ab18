"""What redrawing takes beside stage 3, before anything starts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch

from lora_core.device import pick_device, pick_dtype
from lora_core.diffusion.components import load_components
from lora_core.diffusion.condition import SizeIds, predict, read_texts, token_ids
from lora_core.recipe import Process, Recipe, Sampling, Training
from lora_core.redraw.draw import square
from lora_core.redraw.scenes import quotas
from lora_core.sampling.generate import drawn_size, steps_of_a_picture
from lora_core.training.plan import SetPlan

PASSES_A_SAMPLE = 3
"""Of a trained picture: forward, and backward as two of these (Kaplan et al. 2020, section 2.1)."""


@dataclass(frozen=True)
class Cost:
    """What all rounds take. A pass is one picture of the training's resolution, once through the U-Net.

    Attributes:
        drawn: pictures that are drawn to choose from.
        kept: of them, in each round.
        drawing_passes: for these.
        steps: of the optimizer.
        training_passes: for these.
        samples: pictures that the verdicts on the redrawn LoRAs are made of.
        sample_passes: for these.
        stage_3_passes: of the character's own training, to compare; its samples are not counted.
    """

    drawn: int
    kept: int
    drawing_passes: int
    steps: int
    training_passes: int
    samples: int
    sample_passes: int
    stage_3_passes: int

    @property
    def passes(self) -> int:
        """Of drawing and training."""
        return self.drawing_passes + self.training_passes

    @property
    def line(self) -> str:
        """In a sentence."""
        share = f", {self.passes / self.stage_3_passes:.2f} of stage 3's training" if self.stage_3_passes else ""
        return (
            f"Redraw: {self.drawn} pictures drawn, {self.kept} kept, {self.steps} steps; about {self.passes:,} passes "
            f"through the U-Net{share}; and {self.samples} samples for the verdict, about {self.sample_passes:,} passes"
        )

    def hours(self, seconds_a_pass: float) -> float:
        """All of it, at the measured speed."""
        return (self.passes + self.sample_passes) * seconds_a_pass / 3600


def cost_of(recipe: Recipe, stage_3: tuple[SetPlan, ...]) -> Cost:
    """Count what the recipe's rounds of redrawing take.

    Args:
        recipe: with [redraw] in use.
        stage_3: sets of the character's training.
    """
    options, training = recipe.redraw, recipe.character_training
    kept, epochs = sum(quotas(recipe.plan, options.pictures).values()), options.epochs or training.epochs
    trained = ceil(kept / (1 - options.screenshots)) * training.repeats * epochs
    sampling = recipe.sampling
    samples = options.rounds * epochs * len(sampling.weights) * len(sampling.prompts) * len(sampling.seeds)
    drawn = options.rounds * options.candidates
    return Cost(
        drawn=drawn,
        kept=kept,
        drawing_passes=drawn * _passes_of_a_picture(square(sampling, training.resolution), training),
        steps=options.rounds * ceil(trained / training.step_batch),
        training_passes=options.rounds * trained * PASSES_A_SAMPLE,
        samples=samples,
        sample_passes=samples * _passes_of_a_picture(sampling, training),
        stage_3_passes=_stage_3(stage_3, training),
    )


def _passes_of_a_picture(sampling: Sampling, training: Training) -> int:
    """Steps, with the negative prompt twice, by the picture's area."""
    width, height = drawn_size(sampling) if sampling.hires > 1 else (sampling.width, sampling.height)
    twice = 2 if sampling.cfg > 1 else 1
    return ceil(steps_of_a_picture(sampling) * twice * width * height / training.resolution**2)


def _stage_3(sets: tuple[SetPlan, ...], training: Training) -> int:
    areas = sum(each.samples * (each.resolution_px / training.resolution) ** 2 for each in sets)
    return round(areas * training.epochs * PASSES_A_SAMPLE)


@torch.no_grad()
def seconds_of_a_pass(
    files: Mapping[str, Path], process: Process, device: str, resolution_px: int, clip_skip: int
) -> float:
    """Time one picture's pass through the U-Net, after one to warm up.

    Raises:
        CheckpointError: the model cannot be loaded.
    """
    where = pick_device(device)
    components = load_components(files, device=where, dtype=pick_dtype("auto", where), process=process)
    unet = components.unet
    ids = [token_ids(tokenizer, ("1girl, solo",))[0].to(where) for tokenizer in components.tokenizers]
    condition = read_texts(components, ids, clip_skip).to(unet.dtype)
    factor = 2 ** (len(components.vae.config.block_out_channels) - 1)
    latents = torch.zeros((1, 4, resolution_px // factor, resolution_px // factor), dtype=unet.dtype, device=where)
    sizes = torch.tensor([SizeIds(resolution_px, resolution_px, 0, 0, resolution_px, resolution_px)], device=where)
    step = torch.tensor(500, device=where)
    taken = 0.0
    for _ in range(2):
        started = time.monotonic()
        predict(unet, latents, step, condition, sizes).sum().item()  # waits for the device
        taken = time.monotonic() - started
    return taken
