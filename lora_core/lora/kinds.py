"""The kinds of LoRA modules: the tensors that each has, and the formula by which they change a weight.

Tensors bear the names that follow the module's name in a file, those of sd-scripts and of LyCORIS (`modules/loha.py`,
`modules/lokr.py`). Each kind changes a weight, seen as a matrix of (out, in · kernel), by alpha / rank times

- LoRA: up · down (Hu et al. 2021, arXiv:2106.09685), with LoCon's `lora_mid` between them.
- LoHa: (w1_a · w1_b) ∘ (w2_a · w2_b), element by element (Hyeon-Woo et al. 2021, arXiv:2108.06098).
- LoKr: w1 ⊗ w2, Kronecker's product, either of them whole or a product of two (Yeh et al. 2023, arXiv:2309.14859).

A large kernel may be in Tucker's form: of a pair (a, b) with a core t, a is (rank, out), b is (rank, in), and the
kernel is Σ t[i, j] a[i] b[j]. Any of them with a `dora_scale` is a DoRA as well (Liu et al. 2024, arXiv:2402.09353):
W' = m · (W + ΔW) / ‖W + ΔW‖. With m of (1, in) the norm is that of each column, which A1111, Forge and ComfyUI compute
and which is trained here; with m of (out, 1) that of each row, as in peft and by LyCORIS' default.
"""

from collections.abc import Mapping
from typing import Literal

import torch

DOWN, MID, UP = "lora_down.weight", "lora_mid.weight", "lora_up.weight"
MAGNITUDE = "dora_scale"
Kind = Literal["lora", "loha", "lokr"]
Tensors = Mapping[str, torch.Tensor]

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
}
TENSORS = frozenset[str]().union(*_KINDS)
"""Every tensor that some kind has."""
TITLES: Mapping[Kind, str] = {"lora": "a LoRA", "loha": "a LoHa", "lokr": "a LoKr"}
_RANKED = (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
"""Matrices whose first side is the rank, in the order in which the formats look for it."""


def kind_of(names: Mapping[str, object]) -> Kind | None:
    """The kind that has just these tensors, with or without a DoRA's magnitude; None if there is none."""
    return _KINDS.get(frozenset(names) - {MAGNITUDE})


def rank_of(tensors: Tensors) -> int:
    """Rank of its narrow matrices; 0 for a LoKr of two whole ones, which has none."""
    return next((tensors[key].shape[0] for key in _RANKED if key in tensors), 0)


def change(tensors: Tensors) -> torch.Tensor:
    """The matrix that is added to a weight, (out, in · kernel), without alpha / rank.

    Raises:
        RuntimeError: the shapes do not fit each other.
    """
    match kind_of(tensors):
        case "loha":
            (one, two), (three, four) = _loha(tensors)
            return (one @ two) * (three @ four)
        case "lokr":
            return torch.kron(_whole(tensors, "1"), _whole(tensors, "2"))
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
            (one, two), (three, four) = _loha(tensors)
            up = (one[:, :, None] * three[:, None, :]).flatten(1)
            down = (two[:, None, :] * four[None, :, :]).flatten(0, 1)
        case "lokr":
            one, other = _product(_whole(tensors, "1"))
            left, right = _product(_whole(tensors, "2")) if "lokr_w2" in tensors else _pair(tensors, "lokr", "2")
            up, down = torch.kron(one, left), torch.kron(other, right)
        case _:
            up, down = tensors[UP].flatten(1), tensors[DOWN].flatten(1)
            return up, folded(tensors[MID], down).flatten(1) if MID in tensors else down
    fewer = up.shape[1] <= min(up.shape[0], down.shape[1])
    return (up, down) if fewer else _product(change(tensors))


def folded(mid: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """LoCon's middle kernel (rank, rank, kh, kw) and its first matrix (rank, in) as one kernel (rank, in, kh, kw)."""
    return torch.einsum("rshw,si->rihw", mid, down)


def _loha(tensors: Tensors) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    return _pair(tensors, "hada", "1"), _pair(tensors, "hada", "2")


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


def column_norms(weight: torch.Tensor) -> torch.Tensor:
    """Lengths of the columns of a weight (out, in) or (out, in, kh, kw): (1, in) or (1, in, 1, 1)."""
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
    return turned * (magnitude.reshape(norms.shape) / positive(norms))


def positive(norms: torch.Tensor) -> torch.Tensor:
    """Lengths to divide by: that of a column of zeros is taken as the least there is, so that it stays zeros."""
    return norms.clamp(min=torch.finfo(norms.dtype).tiny)
