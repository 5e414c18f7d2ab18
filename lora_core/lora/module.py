"""One module of a LoRA, of any kind: its tensors, and what they make of a weight (formulas in `kinds`)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lora_core.lora.kinds import (
    DOWN,
    MAGNITUDE,
    MID,
    TITLES,
    UP,
    Tensors,
    change,
    decomposed,
    factors,
    folded,
    kind_of,
    norms_for,
    rank_of,
)


@dataclass(frozen=True)
class LoraModule:
    """One module of a LoRA of any kind."""

    tensors: Tensors
    """By the name that follows the module's in a file: `lora_down.weight`, `hada_w1_a`, `dora_scale`, …"""
    alpha: float | None = None
    """None: not stated, which means the rank."""

    @classmethod
    def plain(
        cls, down: torch.Tensor, up: torch.Tensor, alpha: float | None = None, mid: torch.Tensor | None = None
    ) -> "LoraModule":
        """A plain LoRA.

        Args:
            down: (rank, in) or (rank, in, kh, kw); (rank, in, 1, 1) with `mid`.
            up: (out, rank) or (out, rank, 1, 1).
            alpha: the change is alpha / rank · up · down; None for a factor of 1.
            mid: (rank, rank, kh, kw), of a decomposed convolution.
        """
        return cls({DOWN: down, UP: up} if mid is None else {DOWN: down, MID: mid, UP: up}, alpha)

    @property
    def down(self) -> torch.Tensor:
        """Of a plain LoRA or its DoRA: (rank, in, …)."""
        return self.tensors[DOWN]

    @property
    def up(self) -> torch.Tensor:
        """Of a plain LoRA or its DoRA: (out, rank, …)."""
        return self.tensors[UP]

    @property
    def mid(self) -> torch.Tensor | None:
        """Of a decomposed convolution: (rank, rank, kh, kw)."""
        return self.tensors.get(MID)

    @property
    def rank(self) -> int:
        """Rank of its narrow matrices; 0 for a LoKr of two whole ones, which has none."""
        return rank_of(self.tensors)

    @property
    def scale(self) -> float:
        """alpha / rank; 1 where either is missing."""
        return self.alpha / self.rank if self.rank and self.alpha is not None else 1.0

    @property
    def decomposed(self) -> bool:
        """Whether it is a DoRA, whose change depends on the weight."""
        return MAGNITUDE in self.tensors

    @property
    def is_plain(self) -> bool:
        """Whether its change is up · down whatever the weight: an input can pass through one matrix after the other."""
        return UP in self.tensors and not self.decomposed

    @property
    def title(self) -> str:
        """Its kind, for messages."""
        kind = kind_of(self.tensors) or "lora"
        if not self.decomposed:
            return TITLES[kind]
        return "a DoRA" if kind == "lora" else f"{TITLES[kind]} with DoRA's lengths"

    @property
    def dtype(self) -> torch.dtype:
        """The narrowest dtype that holds all its tensors as they are."""
        first, *rest = (tensor.dtype for tensor in self.tensors.values())
        for other in rest:
            first = torch.promote_types(first, other)
        return first

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that it was made for: (out, in) or (out, in, kh, kw), or (out, in · kernel) where the
        tensors do not distinguish the two.

        Raises:
            RuntimeError: its tensors do not fit each other.
        """
        if UP not in self.tensors:
            rows, columns = change({key: each.to("meta", torch.float32) for key, each in self.tensors.items()}).shape
            return rows, columns
        down, up, mid = (each.shape for each in (self.down, self.up, self.tensors.get(MID, self.down)))
        fits = {len(down), len(up)} <= {2, 4} and down[0] == up[1] != 0 and math.prod(up[2:]) == 1
        if MID in self.tensors:
            fits = fits and mid[:2] == (down[0], down[0]) and math.prod(down[2:]) == 1
        if not fits:
            raise RuntimeError("not two matrices, one after the other")
        return up[0], down[1], *mid[2:]

    def misfit(self, shape: Sequence[int]) -> str:
        """The shape of weight that it was made for if it does not fit this one; else empty.

        Args:
            shape: of a weight, (out, in) or (out, in, kh, kw).
        """
        own, columns = self.shape, math.prod(shape[1:])
        if own[0] != shape[0] or math.prod(own[1:]) != columns or (self.is_plain and own[1] != shape[1]):
            return _words(own)
        lengths = self.tensors.get(MAGNITUDE)
        if lengths is None or norms_for(torch.empty(tuple(shape), device="meta"), lengths) is not None:
            return ""
        return f"{_words(own)} with {_words(lengths.shape)} lengths"

    def merged(self, weight: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        """The weight with the module merged into it: W + factor · (W' − W), computed in float32.

        Of all but a DoRA that is W + factor · alpha / rank · ΔW, sd-scripts' `merge_to_sd_model`; of a DoRA it is how
        web UIs apply a LoRA's weight.

        Args:
            weight: (out, in) or (out, in, kh, kw), any dtype.
            factor: 1 for as trained.

        Returns:
            float32, of the weight's shape, on its device.
        """
        weight = weight.float()
        its = {key: tensor.to(weight.device, torch.float32) for key, tensor in self.tensors.items()}
        added = change(its).reshape(weight.shape)
        if self.decomposed:
            return weight.lerp(decomposed(weight, added * self.scale, its[MAGNITUDE]), factor)
        return added.mul_(factor * self.scale).add_(weight)

    def rows(self, rows: slice) -> "LoraModule":
        """The plain LoRA of some rows of the weight."""
        return LoraModule({**self.tensors, UP: self.up[rows]}, self.alpha)

    def low_rank(self, kernel: Sequence[int]) -> "LoraModule":
        """The plain LoRA that does exactly the same, in float32: its rank is that of a LoHa squared, of a LoKr up to
        the weight's own. There is none for a DoRA.

        Args:
            kernel: sides of the weight's kernel; empty for a linear layer.
        """
        up, down = factors({key: tensor.to(torch.float32) for key, tensor in self.tensors.items()})
        rank, ones = up.shape[1], [1] * len(kernel)
        return LoraModule.plain(down.reshape(rank, -1, *kernel), up.reshape(*up.shape, *ones), self.scale * rank)

    def to(self, where: torch.device | torch.dtype) -> "LoraModule":
        """The same on another device or in another dtype."""
        return LoraModule({key: tensor.to(where) for key, tensor in self.tensors.items()}, self.alpha)


def _words(sides: Sequence[int]) -> str:
    return "×".join(map(str, sides))


def without_mid(module: LoraModule) -> LoraModule:
    """A decomposed convolution as a plain one of the same rank: its middle matrix folded into `down`."""
    if module.mid is None:
        return module
    down = folded(module.mid.to(torch.float32), module.down.flatten(1).to(torch.float32))
    return LoraModule.plain(down.to(module.down.dtype), module.up, module.alpha)
