"""Filling models that were built without memory, tensor by tensor, from safetensors files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from torch import nn

from lora_core.errors import CheckpointError
from lora_core.finite_check import is_finite, not_finite
from lora_core.hub.layout import Place

Model = TypeVar("Model", bound=nn.Module)


def build(
    make: Callable[[], Model],
    sources: Mapping[Path, Callable[[str], Place | None]],
    *,
    part: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Model:
    """Make a model and fill it; frozen and in eval mode.

    Args:
        make: builds the model; it runs on the meta device, so it costs neither time nor memory.
        sources: by file, a function that tells where in it a tensor of the model lies; None: not in this one.
        part: the model's name in messages.
        device: where the weights go.
        dtype: the format they are held in.

    Raises:
        CheckpointError: a tensor is missing, has another shape or holds a number that is not finite.
    """
    with torch.device("meta"):
        model = make()
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
    state: dict[str, torch.Tensor] = {}
    for path, place_of in sources.items():
        with safe_open(path, framework="pt", device="cpu") as file:
            there = set(file.keys())
            for key, shape in wanted.items():
                place = place_of(key)
                if place is None or place.key not in there:
                    continue
                tensor = place.take(file.get_tensor(place.key))
                if tensor.numel() != shape.numel():
                    raise CheckpointError(
                        f"{part}: {key} has shape {list(tensor.shape)} in the file, its config says {list(shape)}"
                    )
                if tensor.is_floating_point() and not is_finite(tensor):
                    raise CheckpointError(not_finite(str(path), place.key))
                state[key] = tensor.reshape(shape).contiguous().to(device=device, dtype=dtype, copy=True)
    missing = [key for key in wanted if key not in state]
    if missing:
        raise CheckpointError(
            f"{part}: {len(missing)} of {len(wanted)} tensors are missing from the file, such as {missing[0]}; "
            "it is cut off or no Stable Diffusion model of a known kind"
        )
    model.load_state_dict(state, strict=True, assign=True)
    _restore_positions(model, device)
    return model.requires_grad_(False).eval()


def _restore_positions(model: nn.Module, device: torch.device) -> None:
    """CLIP counts its positions in a buffer that files do not hold and the meta device has no values for."""
    for name, buffer in list(model.named_buffers()):
        if buffer.is_meta and name.endswith("position_ids"):
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.register_buffer(
                "position_ids", torch.arange(buffer.shape[-1], device=device).expand(buffer.shape), persistent=False
            )
