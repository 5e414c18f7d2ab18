"""Keeping a LoRA's changes of the weights small."""

from collections.abc import Sequence
from typing import Any

import torch

from lora_core.lora.inject import ADAPTER, LoraLayer
from lora_core.lora.magnitude import MAGNITUDE


def product_norm(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """‖up · down‖, by ‖UD‖² = tr(UᵀU · DDᵀ): two small matrices instead of the whole product.

    Args:
        down: (rank, in, …).
        up: (out, rank, …).
    """
    rows, columns = down.flatten(1), up.flatten(1)
    return ((columns.T @ columns) * (rows @ rows.T)).sum().clamp(min=0).sqrt()


@torch.no_grad()
def limit_norms(layers: Sequence[LoraLayer], largest: float) -> None:
    """Scale every module whose change of its weight has a larger norm down to it, its matrices alike.

    sd-scripts' `scale_weight_norms`. Of a DoRA it is the part that turns the weight.
    """
    for layer in layers:
        matrices = [matrix for key, matrix in layer.matrices.items() if key != MAGNITUDE]
        if "lora_up.weight" in layer.matrices:
            norm = product_norm(layer.down, layer.up) * (layer.alpha / layer.rank)
        else:
            module: Any = layer.module
            norm = module.get_delta_weight(ADAPTER).norm()
        ratio = (largest / norm.clamp(min=largest)) ** (1 / len(matrices))
        for matrix in matrices:
            matrix.mul_(ratio)
