"""DoRA: a weight's columns keep a length of their own, which is trained beside the LoRA that turns them.

Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation" (arXiv:2402.09353): W' = m · (W + ΔW) / ‖W + ΔW‖, with
the norm of each column, so of what each input does. A1111, Forge and ComfyUI compute just that from a file whose
`dora_scale` is (1, in). peft and diffusers take the norm of the rows instead, and LyCORIS does unless told otherwise;
of such files, (out, 1), web UIs make something else than was trained (ComfyUI divides by ‖W‖, A1111 mixes rows and
columns), so columns are what is trained here. Both are read.
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


def norms_for(weight: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor | None:
    """Lengths of a weight's columns or rows, whichever a file's magnitudes are of; None if of neither.

    Args:
        weight: (out, in) or (out, in, kh, kw).
        magnitude: (1, in) for columns, (out, 1) for rows; sides of 1 may follow.
    """
    rows, columns = weight.shape[:2]
    if magnitude.numel() == columns and magnitude.shape[:1] == (1,):
        return column_norms(weight)
    if magnitude.numel() == rows and magnitude.shape[:1] == (rows,):
        norms: torch.Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)
        return norms
    return None


def decomposed(weight: torch.Tensor, change: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """m · (W + ΔW) / ‖W + ΔW‖; shapes as in `norms_for`.

    Raises:
        RuntimeError: the magnitudes are neither of the columns nor of the rows.
    """
    turned = weight + change
    norms = norms_for(turned, magnitude)
    if norms is None:
        raise RuntimeError(f"magnitudes of {list(magnitude.shape)} for a weight of {list(weight.shape)}")
    return turned * (magnitude.reshape(norms.shape) / _divisor(norms))


def _divisor(norms: torch.Tensor) -> torch.Tensor:
    """Of a column of zeros the length is taken as the least there is, so that it stays zeros."""
    return norms.clamp(min=torch.finfo(norms.dtype).tiny)


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
        factors = (magnitude / _divisor(norms)).to(inputs[0].dtype)
        return (inputs[0] * (factors if factors.ndim == 4 else factors[0]), *inputs[1:])

    module.register_forward_pre_hook(scale_inputs)
    return magnitude
