"""The kinds of LoRA modules by their tensors, and what each changes: a matrix of (out, in · kernel).

Tensors bear the names of LyCORIS, whose files web UIs read (its `modules/loha.py`, `modules/lokr.py`):

- LoRA: up · down (Hu et al. 2021, arXiv:2106.09685), with LoCon's `lora_mid` between them.
- LoHa: (w1_a · w1_b) ∘ (w2_a · w2_b), element by element (Hyeon-Woo et al. 2021, arXiv:2108.06098).
- LoKr: w1 ⊗ w2, Kronecker's product, either of them whole or a product of two (Yeh et al. 2023, arXiv:2309.14859).

A large kernel may be in Tucker's form: of a pair (a, b) with a core t, a is (rank, out), b is (rank, in), and the
kernel is Σ t[i, j] a[i] b[j]. All of it times alpha / rank.
"""

from collections.abc import Mapping
from typing import Literal

import torch

from lora_core.lora.magnitude import MAGNITUDE

Kind = Literal["lora", "loha", "lokr"]
Tensors = Mapping[str, torch.Tensor]
"""A module's, by what stands behind its name in the file."""

DOWN, MID, UP = "lora_down.weight", "lora_mid.weight", "lora_up.weight"
_LOHA = frozenset(f"hada_w{n}_{half}" for n in (1, 2) for half in ("a", "b"))
_FIRST = (frozenset(("lokr_w1",)), frozenset(("lokr_w1_a", "lokr_w1_b")))
_NARROW = frozenset(("lokr_w2_a", "lokr_w2_b"))
_SECOND = (frozenset(("lokr_w2",)), _NARROW, _NARROW | {"lokr_t2"})
_TENSORS: Mapping[frozenset[str], Kind] = {
    frozenset((DOWN, UP)): "lora",
    frozenset((DOWN, MID, UP)): "lora",
    _LOHA: "loha",
    _LOHA | {"hada_t1", "hada_t2"}: "loha",
    **{first | second: "lokr" for first in _FIRST for second in _SECOND},
}
WORDS: Mapping[Kind, str] = {"lora": "a LoRA", "loha": "a LoHa", "lokr": "a LoKr"}
_RANKED = (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b")


def kind_of(tensors: Mapping[str, object]) -> Kind | None:
    """Which kind has just these tensors, whatever is there of DoRA; None for any other."""
    return _TENSORS.get(frozenset(tensors) - {MAGNITUDE})


def rank_of(tensors: Tensors) -> int:
    """Of the product of two narrow matrices; 0 for a LoKr of two whole ones, which has none."""
    return next((tensors[key].shape[0] for key in _RANKED if key in tensors), 0)


def change(tensors: Tensors) -> torch.Tensor:
    """What is added to a weight, as a matrix of (out, in · kernel), without alpha / rank.

    Raises:
        RuntimeError: the shapes do not fit each other.
    """
    match kind_of(tensors):
        case "loha":
            (one, two), (three, four) = _loha(tensors)
            return (one @ two) * (three @ four)
        case "lokr":
            first, second = (_whole(tensors, which) for which in ("1", "2"))
            return torch.kron(first, second)
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
            up, down = _lokr_factors(tensors)
        case _:
            up, down = pair(tensors[UP].flatten(1), tensors[DOWN].flatten(1), None)
            if MID in tensors:
                down = torch.einsum("rshw,si->rihw", tensors[MID], down).flatten(1)
            return up, down
    fewer = up.shape[1] <= min(up.shape[0], down.shape[1])
    return (up, down) if fewer else _plain(change(tensors))


def pair(a: torch.Tensor, b: torch.Tensor, core: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Two matrices as they are multiplied: Tucker's core goes into the second.

    Returns:
        (n, rank) and (rank, m), or (rank, m · kernel) with a core.
    """
    if core is None:
        return a, b
    return a.T.contiguous(), torch.einsum("ij...,jm->im...", core, b).flatten(1)


def _loha(tensors: Tensors) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [pair(tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"], tensors.get(f"hada_t{n}")) for n in (1, 2)]


def _whole(tensors: Tensors, which: str) -> torch.Tensor:
    """LoKr's first or second matrix, the second of (out, in · kernel)."""
    if (whole := tensors.get(f"lokr_w{which}")) is not None:
        return whole.flatten(1)
    left, right = pair(tensors[f"lokr_w{which}_a"], tensors[f"lokr_w{which}_b"], tensors.get(f"lokr_t{which}"))
    return left @ right


def _lokr_factors(tensors: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    first = _whole(tensors, "1")
    if "lokr_w2" in tensors:
        left, right = _plain(_whole(tensors, "2"))
    else:
        left, right = pair(tensors["lokr_w2_a"], tensors["lokr_w2_b"], tensors.get("lokr_t2"))
    one, other = _plain(first)
    return torch.kron(one, left), torch.kron(other, right)


def _plain(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Any matrix as a product, of its smaller side's rank."""
    rows, columns = matrix.shape
    one = torch.eye(min(rows, columns), dtype=matrix.dtype, device=matrix.device)
    return (one, matrix) if rows < columns else (matrix, one)
