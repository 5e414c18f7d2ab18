"""DoRA: a weight's columns keep a length of their own, which is trained beside the LoRA that turns them.

Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation" (arXiv:2402.09353): W' = m · (W + ΔW) / ‖W + ΔW‖, with
the norm of each column, so of what each input does. A1111, Forge and ComfyUI compute just that from a file whose
`dora_scale` is (1, in). peft and diffusers take the norm of the rows instead; of such files web UIs make something else
than was trained (ComfyUI divides by ‖W‖, A1111 mixes rows and columns), so columns are what is trained here.
"""

from typing import Any

import torch
from torch import nn

MAGNITUDE = "dora_scale"


def column_norms(weight: torch.Tensor) -> torch.Tensor:
    """Lengths of a weight's columns.

    Args:
        weight: (out, in) or (out, in, kh, kw).

    Returns:
        (1, in) or (1, in, 1, 1).
    """
    norms: torch.Tensor = torch.linalg.vector_norm(weight, dim=(0, *range(2, weight.ndim)), keepdim=True)
    return norms


def decomposed(weight: torch.Tensor, change: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """m · (W + ΔW) / ‖W + ΔW‖; shapes as in `column_norms`."""
    turned = weight + change
    return turned * (magnitude / column_norms(turned))


def add_magnitude(module: Any, adapter: str) -> nn.Parameter:
    """Make one of peft's LoRA modules a DoRA.

    A column's factor is a factor on its input, so the module's inputs are scaled and all else stays. The norm is a
    constant to the gradient (section 4.3 of the paper).

    Returns:
        The trained lengths, float32, (1, in) or (1, in, 1, 1); at first those of the base's weight.
    """
    base = module.get_base_layer()
    magnitude = nn.Parameter(column_norms(base.weight.detach().float()))

    def scale_inputs(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if module.disable_adapters:
            return inputs
        with torch.no_grad():
            norms = column_norms(base.weight.float() + module.get_delta_weight(adapter).float())
        factors = (magnitude / norms).to(inputs[0].dtype)
        return (inputs[0] * (factors if factors.ndim == 4 else factors[0]), *inputs[1:])

    module.register_forward_pre_hook(scale_inputs)
    return magnitude
