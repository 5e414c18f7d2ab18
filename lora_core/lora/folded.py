"""LoRA layers for training whose arithmetic rides along with the base layer's own.

peft computes `base(x) + up(down(x)) * scale`: two matrix products and, on the whole output, a product and a sum, and
backwards a product and a sum again; under autocast two conversions of the input are added to these. Here every one of
them is folded into a matrix product that is computed anyway (GEMM's alpha and beta), so a LoRA costs its products and
nothing else: forward two, backward four.
"""

from typing import Any

import torch
from peft.tuners import lora
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lora_core.lora.int8 import Int8Linear


class FoldedLinear(lora.Linear):  # type: ignore[misc]  # peft's are untyped
    """peft's linear layer with a LoRA; the same values, up to rounding, in fewer steps."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(…, in) → (…, out)."""
        dtype = _folds(self, x)
        if dtype is None:
            unfolded: torch.Tensor = super().forward(x, *args, **kwargs)
            return unfolded
        (adapter,) = self.active_adapters
        down, up = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        base = self.base_layer
        weight = base if isinstance(base, Int8Linear) else base.weight
        output: torch.Tensor = _Linear.apply(  # type: ignore[no-untyped-call]
            x, weight, base.bias, down, up, self.scaling[adapter], dtype
        )
        return output


class FoldedConv2d(lora.Conv2d):  # type: ignore[misc]
    """peft's convolution with a LoRA; the same values, up to rounding, in fewer steps."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(batch, in, h, w) → (batch, out, h', w')."""
        if _folds(self, x) is None:
            unfolded: torch.Tensor = super().forward(x, *args, **kwargs)
            return unfolded
        (adapter,) = self.active_adapters
        hidden = self.lora_A[adapter](x)
        up = self.lora_B[adapter].weight.flatten(1).to(hidden.dtype)
        output: torch.Tensor = _Upward.apply(  # type: ignore[no-untyped-call]
            self.base_layer(x), hidden, up, self.scaling[adapter]
        )
        return output


def _folds(layer: Any, x: torch.Tensor) -> torch.dtype | None:
    """The precision to compute in; None where only peft's own way is right.

    Compiled, peft's way is the faster one: the compiler folds what is left and sees through no function of ours.
    """
    if layer.disable_adapters or layer.merged or torch.compiler.is_compiling():
        return None
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    trained = layer.lora_A[layer.active_adapters[0]].weight.dtype
    base = layer.base_layer
    held = base.number_format if isinstance(base, Int8Linear) else base.weight.dtype
    return trained if x.dtype == held == trained else None


def _scaled(left: torch.Tensor, right: torch.Tensor, scale: float) -> torch.Tensor:
    """left @ right · scale, in one step."""
    return torch.addmm(left.new_empty(()), left, right, beta=0, alpha=scale)


class _Linear(torch.autograd.Function):
    """x Wᵀ + b + scale · (x downᵀ) upᵀ; W and b are frozen. A W in 8 bits is made up on both ways, and not kept."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | Int8Linear,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            trained = down.dtype
            whole = (weight.weight if isinstance(weight, Int8Linear) else weight).to(dtype)
            rows, down, up = (each.to(dtype) for each in (x.reshape(-1, x.shape[-1]), down, up))
            output = functional.linear(rows, whole, None if bias is None else bias.to(dtype))
            hidden = rows @ down.T
            output.addmm_(hidden, up.T, alpha=scale)
        ctx.packed = weight if isinstance(weight, Int8Linear) else None
        ctx.save_for_backward(rows, hidden, None if ctx.packed else whole, down, up)
        ctx.scale, ctx.dtype, ctx.trained = scale, x.dtype, trained
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, hidden, whole, down, up = ctx.saved_tensors
        out = gradient.reshape(-1, gradient.shape[-1])
        with torch.autocast(out.device.type, enabled=False):
            for_hidden = _scaled(out, up, ctx.scale)
            for_up = _scaled(out.T, hidden, ctx.scale)
            for_x = None
            if ctx.needs_input_grad[0]:
                whole = ctx.packed.weight.to(rows.dtype) if ctx.packed else whole
                for_x = (out @ whole).addmm_(for_hidden, down)
                for_x = for_x.view(*gradient.shape[:-1], -1).to(ctx.dtype)
            for_down = for_hidden.T @ rows
            return for_x, None, None, for_down.to(ctx.trained), for_up.to(ctx.trained), None, None


class _Upward(torch.autograd.Function):
    """base + scale · up · hidden, into the memory of `base`, which was just made and which nobody else reads."""

    @staticmethod
    def forward(ctx: Any, base: torch.Tensor, hidden: torch.Tensor, up: torch.Tensor, scale: float) -> torch.Tensor:
        flat = hidden.flatten(2)
        base.view(*base.shape[:2], -1).baddbmm_(up.expand(len(base), -1, -1), flat, alpha=scale)
        ctx.mark_dirty(base)
        ctx.save_for_backward(flat, up)
        ctx.scale, ctx.shape = scale, hidden.shape
        return base

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, up = ctx.saved_tensors
        out = gradient.flatten(2)
        nothing = out.new_empty(())
        ups = up.T.expand(len(out), -1, -1)
        for_hidden = torch.baddbmm(nothing, ups, out, beta=0, alpha=ctx.scale).view(ctx.shape)
        for_up = torch.baddbmm(nothing, out, flat.transpose(1, 2), beta=0, alpha=ctx.scale).sum(0)
        return gradient, for_hidden, for_up, None


FOLDED: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: FoldedLinear, nn.Conv2d: FoldedConv2d}
"""The base's layer → ours."""
