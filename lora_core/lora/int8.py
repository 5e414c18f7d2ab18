"""Frozen linear layers whose weights are held in 8 bits, by bitsandbytes, and made up whenever they are multiplied."""

import importlib
import importlib.util
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional


class Int8Linear(nn.Linear):
    """A byte a number and a float32 scale a row: w ≈ packed · scale, within half a step of 1/127 of a row's largest."""

    packed: torch.Tensor
    scale: torch.Tensor
    number_format: torch.dtype

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """(out, in), made up anew at every call."""
        return (self.packed * self.scale).to(self.number_format)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  (nn.Linear's name)
        """(…, in) → (…, out)."""
        return functional.linear(input, self.weight, self.bias)


@torch.no_grad()
def hold_in_eight_bits(layer: nn.Linear) -> None:
    """Change a layer in place: who has it keeps it."""
    quantize: Any = importlib.import_module("bitsandbytes.functional").int8_vectorwise_quant
    packed, largest, _ = quantize(layer.weight.to(torch.float16))
    number_format = layer.weight.dtype
    del layer._parameters["weight"]
    layer.__class__ = Int8Linear
    held = cast(Int8Linear, layer)
    held.number_format = number_format
    held.register_buffer("packed", packed)
    held.register_buffer("scale", largest[:, None] / 127)


def is_available() -> bool:
    """Whether bitsandbytes is installed; it is not imported for that."""
    return importlib.util.find_spec("bitsandbytes") is not None


def saved_bytes(layer: nn.Linear) -> int:
    """How much less a layer takes so."""
    number_bytes = layer.weight.element_size()
    return layer.weight.numel() * (number_bytes - 1) - layer.out_features * 4
