"""One module of a LoRA of any kind: plain, DoRA, LoHa, LoKr."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lora_core.lora.file import LoraModule
from lora_core.lora.kinds import WORDS, Tensors, change, factors, kind_of, rank_of
from lora_core.lora.magnitude import MAGNITUDE, decomposed, norms_for


@dataclass(frozen=True)
class Adapter:
    """One module of a file of any kind."""

    name: str
    alpha: float
    tensors: Tensors
    """By what stands behind the module's name: `lora_down.weight`, `hada_w1_a`, `lokr_w1`, `dora_scale` …"""

    @property
    def rank(self) -> int:
        """Of its narrow matrices; 0 for a LoKr of two whole ones, which has none."""
        return rank_of(self.tensors)

    @property
    def scale(self) -> float:
        """alpha / rank; 1 where there is no rank."""
        return self.alpha / self.rank if self.rank else 1.0

    @property
    def decomposed(self) -> bool:
        """Whether lengths of its own belong to it (DoRA), so that its change depends on the weight."""
        return MAGNITUDE in self.tensors

    @property
    def words(self) -> str:
        """Its kind, for messages."""
        kind = kind_of(self.tensors) or "lora"
        if not self.decomposed:
            return WORDS[kind]
        return "a DoRA" if kind == "lora" else f"{WORDS[kind]} with DoRA's lengths"

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of the weight that it is made for: (out, in · kernel).

        Raises:
            RuntimeError: its tensors do not fit each other.
        """
        rows, columns = change({key: tensor.to("meta") for key, tensor in self.tensors.items()}).shape
        return rows, columns

    def merged(self, weight: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
        """What the module makes of the base's weight, in float32 on its device: W + strength · (W' − W).

        That is how web UIs apply a strength to a DoRA too; for the other kinds W' − W is `kinds.change` · alpha / rank.

        Args:
            weight: (out, in) or (out, in, kh, kw).
            strength: 1 for as trained.
        """
        weight = weight.float()
        its = {key: tensor.to(weight.device, torch.float32) for key, tensor in self.tensors.items()}
        added = change(its).reshape(weight.shape)
        if self.decomposed:
            return weight.lerp(decomposed(weight, added * self.scale, its[MAGNITUDE]), strength)
        return added.mul_(strength * self.scale).add_(weight)

    def misfit(self, shape: Sequence[int]) -> str:
        """The shape that it is made for if not for this one, in words; else empty.

        Args:
            shape: of a weight, (out, in) or (out, in, kh, kw).
        """
        if self.sides != (shape[0], math.prod(shape[1:])):
            return _words(self.sides)
        lengths = self.tensors.get(MAGNITUDE)
        if lengths is None or norms_for(torch.empty(tuple(shape), device="meta"), lengths) is not None:
            return ""
        return f"{_words(self.sides)} with {_words(lengths.shape)} lengths"

    def low_rank(self, kernel: Sequence[int]) -> LoraModule:
        """The same as a plain LoRA, exactly: its rank is that of a LoHa squared, of a LoKr up to the weight's own.

        Args:
            kernel: sides of the weight's kernel; empty for a linear layer. Not for a DoRA.
        """
        up, down = factors({key: tensor.to(torch.float32) for key, tensor in self.tensors.items()})
        rank = up.shape[1]
        return LoraModule(
            down.reshape(rank, -1, *kernel), up.reshape(*up.shape, *(1 for _ in kernel)), None, self.scale * rank
        )

    def to(self, device: torch.device) -> "Adapter":
        """The same elsewhere."""
        return Adapter(self.name, self.alpha, {key: each.to(device) for key, each in self.tensors.items()})


def _words(sides: Sequence[int]) -> str:
    return "×".join(map(str, sides))
