"""How much work a drawing is: what comes out, and what passes the U-Net for it."""

import torch

from lora_core.diffusion.components import Components
from lora_core.pace import Work, model_kind
from lora_core.recipe import Sampling
from lora_core.sampling.schedulers import step_count


def drawn_size(options: Sampling) -> tuple[int, int]:
    """(width, height) in pixels of what comes out: with the hires factor, a multiple of 8."""
    width, height = (round(side * options.hires / 8) * 8 for side in (options.width, options.height))
    return width, height


def pixels_drawn(options: Sampling) -> int:
    """Pixels that pass the U-Net for one picture: those of every step, twice with guidance, the hires pass included."""
    width, height = drawn_size(options)
    first = step_count(options.model_copy(update={"hires": 1.0}))
    second = step_count(options) - first
    passes = 2 if options.cfg > 1 else 1
    return passes * (first * options.width * options.height + second * width * height)


def drawing_work(components: Components, options: Sampling, device: torch.device, pictures: int) -> Work:
    """So many pictures, the hires pass included, as their pace is measured."""
    kind = "draw", *model_kind(components, device), f"batch {options.batch}"
    return Work(kind, pictures * pixels_drawn(options) / 1e6)


def loading_work(components: Components, device: torch.device, times: int = 1) -> Work:
    """Reading a base from the disk to draw with it, so many times."""
    return Work(("load", *model_kind(components, device)), times)
