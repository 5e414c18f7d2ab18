"""Making a LoRA inside a base model, for training."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from lora_core.device import counter_generator
from lora_core.errors import LoraError
from lora_core.lora.keys import TEXT_PARTS, Base, module_names

LoraPart = Literal["unet", "text_encoder", "text_encoder_2"]
_ADAPTER = "default"


@dataclass(frozen=True)
class LoraLayer:
    """One module's LoRA: its output is up(down(x)) · alpha / rank."""

    name: str
    """As in the file, without `.lora_down.weight`."""
    part: LoraPart
    down: nn.Parameter
    """(rank, in) or (rank, in, 1, 1)."""
    up: nn.Parameter
    """(out, rank) or (out, rank, 1, 1)."""
    rank: int
    alpha: float


def inject(
    components: Base, *, rank: int, alpha: float, unet: bool, text_encoder: bool, seed: int
) -> tuple[LoraLayer, ...]:
    """Put a new LoRA into the models. They are changed in place; load a base anew for another training.

    Args:
        components: the base, frozen.
        rank: of every layer.
        alpha: the LoRA's output is scaled by alpha / rank.
        unet: whether the U-Net gets one.
        text_encoder: whether the text encoders get one.
        seed: of the first values.

    Returns:
        The layers, text encoders first as in sd-scripts' files. Their parameters are float32 and trainable. `down` is
        drawn kaiming-uniform with a = √5, so within ±1/√in, from the seed and the layer's name alone; `up` is zero, so
        the model's output is at first unchanged.

    Raises:
        LoraError: neither part was asked for, or the base has a LoRA already.
    """
    if not (unet or text_encoder):
        raise LoraError("neither the U-Net nor the text encoder is trained; give one of them a learning rate")
    parts: list[LoraPart] = []
    if text_encoder:
        parts += [cast(LoraPart, part) for part in TEXT_PARTS[: len(components.text_encoders)]]
    if unet:
        parts.append("unet")
    return tuple(layer for part in parts for layer in _inject_part(components, part, rank=rank, alpha=alpha, seed=seed))


def _inject_part(components: Base, part: LoraPart, *, rank: int, alpha: float, seed: int) -> Iterator[LoraLayer]:
    model = components.unet if part == "unet" else components.text_encoders[TEXT_PARTS.index(part)]
    names = module_names(components, part)
    if any("lora_" in name for name, _ in model.named_parameters()):
        raise LoraError("the base has a LoRA in training already; load it anew")
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(names), init_lora_weights=False, lora_dropout=0.0)
    inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
    for path, name in names.items():
        down = model.get_parameter(f"{path}.lora_A.{_ADAPTER}.weight")
        up = model.get_parameter(f"{path}.lora_B.{_ADAPTER}.weight")
        for parameter in (down, up):
            parameter.data = parameter.data.to(torch.float32)
            parameter.requires_grad_(True)
        if not down.is_meta:
            down.data.copy_(first_values(tuple(down.shape), seed, name))
            up.data.zero_()
        yield LoraLayer(name=name, part=part, down=down, up=up, rank=rank, alpha=alpha)


def first_values(shape: tuple[int, ...], seed: int, name: str) -> torch.Tensor:
    """The first `down` of a layer: uniform within ±1/√fan_in (He et al. 2015 with a = √5, as torch's linear layers)."""
    generator = counter_generator(seed, int(hashlib.sha256(name.encode()).hexdigest(), 16))
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
