"""AdamW over the LoRA's matrices, a rate for each part, constant behind a warm-up."""

from collections.abc import Sequence

import torch

from lora_core.lora.inject import LoraLayer
from lora_core.recipe import Training


def build_optimizer(layers: Sequence[LoraLayer], options: Training) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with torch's betas and epsilon, as sd-scripts' default.

    One parameter group a part with its own `base_lr`; the fused kernel, because a LoRA is hundreds of small matrices.
    """
    rates = {
        "unet": options.unet_lr,
        "text_encoder": options.text_encoder_lr,
        "text_encoder_2": options.text_encoder_lr,
    }
    groups = []
    for part, rate in rates.items():
        matrices = [matrix for layer in layers if layer.part == part for matrix in (layer.down, layer.up)]
        if matrices:
            groups.append({"params": matrices, "lr": rate, "base_lr": rate})
    return torch.optim.AdamW(groups, weight_decay=options.weight_decay, fused=True)


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Factor on the learning rate at a step counted from 0: rises from 0 to 1 over the warm-up, then stays."""
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's learning rate as its own times a factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
