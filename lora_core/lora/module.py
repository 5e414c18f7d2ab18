"""One module of a LoRA, of any kind: its tensors, and the formula by which they change a weight.

Tensors bear the names that follow the module's name in a file, those of sd-scripts and of LyCORIS (`modules/loha.py`,
`modules/lokr.py`). Each kind changes a weight, seen as a matrix of (out, in · kernel), by alpha / rank times

- LoRA: up · down (Hu et al. 2021, arXiv:2106.09685), with LoCon's `lora_mid` between them.
- LoHa: (w1_a · w1_b) ∘ (w2_a · w2_b), element by element (Hyeon-Woo et al. 2021, arXiv:2108.06098).
- LoKr: w1 ⊗ w2, Kronecker's product, either of them whole or a product of two (Yeh et al. 2023, arXiv:2309.14859).
- A difference: the change itself, without alpha, of any weight (`diff`), a norm's (`w_norm`), or of a bias (`diff_b`,
  `b_norm`), which is a module of its own here.

A large kernel may be in Tucker's form: of a pair (a, b) with a core t, a is (rank, out), b is (rank, in), and the
kernel is Σ t[i, j] a[i] b[j]. Any of them with a `dora_scale` is a DoRA as well (Liu et al. 2024, arXiv:2402.09353):
W' = m · (W + ΔW) / ‖W + ΔW‖. With m of (1, in) the norm is that of each column, which A1111, Forge and ComfyUI compute
and which is trained here; with m of (out, 1) that of each row, as in peft and by LyCORIS' default.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch

from lora_core.lora.dora import decomposed, norms_for

DOWN, MID, UP = "lora_down.weight", "lora_mid.weight", "lora_up.weight"
MAGNITUDE = "dora_scale"
Kind = Literal["lora", "loha", "lokr", "full", "norm", "bias"]
Tensors = Mapping[str, torch.Tensor]

DIFFERENCES: Mapping[str, Kind] = {"diff": "full", "w_norm": "norm", "diff_b": "bias", "b_norm": "bias"}
_LOHA = frozenset(f"hada_w{n}_{half}" for n in (1, 2) for half in ("a", "b"))
_FIRST = (frozenset(("lokr_w1",)), frozenset(("lokr_w1_a", "lokr_w1_b")))
_NARROW = frozenset(("lokr_w2_a", "lokr_w2_b"))
_SECOND = (frozenset(("lokr_w2",)), _NARROW, _NARROW | {"lokr_t2"})
_KINDS: Mapping[frozenset[str], Kind] = {
    frozenset((DOWN, UP)): "lora",
    frozenset((DOWN, MID, UP)): "lora",
    _LOHA: "loha",
    _LOHA | {"hada_t1", "hada_t2"}: "loha",
    **{first | second: "lokr" for first in _FIRST for second in _SECOND},
    **{frozenset((name,)): kind for name, kind in DIFFERENCES.items()},
}
TENSORS = frozenset[str]().union(*_KINDS)
"""Every tensor that some kind has."""
TITLES: Mapping[Kind, str] = {
    "lora": "a LoRA", "loha": "a LoHa", "lokr": "a LoKr", "full": "full differences of weights",
    "norm": "changes of norm layers", "bias": "changes of biases",
}  # fmt: skip
_RANKED = (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
"""Matrices whose first side is the rank, in the order in which the formats look for it."""


def kind_of(names: Mapping[str, object]) -> Kind | None:
    """The kind that has just these tensors, with or without a DoRA's magnitude; None if there is none."""
    return _KINDS.get(frozenset(names) - {MAGNITUDE})


def change(tensors: Tensors) -> torch.Tensor:
    """The matrix that is added to a weight, (out, in · kernel), without alpha / rank.

    Raises:
        RuntimeError: the shapes do not fit each other.
    """
    match kind_of(tensors):
        case "loha":
            (one, two), (three, four) = (_pair(tensors, "hada", which) for which in "12")
            return (one @ two) * (three @ four)
        case "lokr":
            return torch.kron(_whole(tensors, "1"), _whole(tensors, "2"))
        case "full" | "norm" | "bias":
            (difference,) = (tensors[name] for name in DIFFERENCES if name in tensors)
            return difference.reshape(len(difference), -1)
        case _:
            up, down = factors(tensors)
            return up @ down


def factors(tensors: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """The same change as a product up · down, exactly.

    (A·B) ∘ (C·D) is the product of all products of A's and C's columns with all of B's and D's rows, in the same
    order: its rank is that of both multiplied. W ⊗ (A·B) = (W ⊗ A) · (1 ⊗ B) = (1 ⊗ A) · (W ⊗ B).

    Returns:
        up (out, rank) and down (rank, in · kernel); the rank is at most the smaller side.
    """
    match kind_of(tensors):
        case "loha":
            (one, two), (three, four) = (_pair(tensors, "hada", which) for which in "12")
            up = (one[:, :, None] * three[:, None, :]).flatten(1)
            down = (two[:, None, :] * four[None, :, :]).flatten(0, 1)
        case "lokr":
            one, other = _product(_whole(tensors, "1"))
            left, right = _product(_whole(tensors, "2")) if "lokr_w2" in tensors else _pair(tensors, "lokr", "2")
            up, down = torch.kron(one, left), torch.kron(other, right)
        case "full" | "norm" | "bias":
            return _product(change(tensors))
        case _:
            up, down = tensors[UP].flatten(1), tensors[DOWN].flatten(1)
            return up, folded(tensors[MID], down).flatten(1) if MID in tensors else down
    fewer = up.shape[1] <= min(up.shape[0], down.shape[1])
    return (up, down) if fewer else _product(change(tensors))


def folded(mid: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """LoCon's middle kernel (rank, rank, kh, kw) and its first matrix (rank, in) as one kernel (rank, in, kh, kw)."""
    return torch.einsum("rshw,si->rihw", mid, down)


def _pair(tensors: Tensors, kind: str, which: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Two matrices as they are multiplied, (n, rank) and (rank, m): Tucker's core goes into the second."""
    a, b, core = tensors[f"{kind}_w{which}_a"], tensors[f"{kind}_w{which}_b"], tensors.get(f"{kind}_t{which}")
    if core is None:
        return a, b
    return a.T.contiguous(), torch.einsum("ij...,jm->im...", core, b).flatten(1)


def _whole(tensors: Tensors, which: str) -> torch.Tensor:
    """LoKr's first or second matrix, the second of (out, in · kernel)."""
    if (whole := tensors.get(f"lokr_w{which}")) is not None:
        return whole.flatten(1)
    left, right = _pair(tensors, "lokr", which)
    return left @ right


def _product(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Any matrix as a product, of its smaller side's rank."""
    rows, columns = matrix.shape
    one = torch.eye(min(rows, columns), dtype=matrix.dtype, device=matrix.device)
    return (one, matrix) if rows < columns else (matrix, one)


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
        return next((self.tensors[key].shape[0] for key in _RANKED if key in self.tensors), 0)

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
    def changes_vector(self) -> bool:
        """Whether it changes a norm's weight or a bias, which no product of matrices does."""
        return any(name in self.tensors and self.tensors[name].ndim == 1 for name in DIFFERENCES)

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
        return reduce(torch.promote_types, (tensor.dtype for tensor in self.tensors.values()))

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
