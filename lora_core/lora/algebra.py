"""The algebra of LoRA modules: sums that are exact, and cuts back to a rank that are the best possible.

A module changes a weight by c · up · down with c = alpha / rank, seen as a matrix of (out, in · kernel). Differences
and sums of such products are products again, of the matrices side by side. Which product of a smaller rank is nearest
is answered by the singular values (Eckart and Young 1936), found without ever making the matrix: QR of both factors
leaves a core of (rank, rank) with the same singular values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lora_core.errors import LoraError
from lora_core.lora.module import LoraModule, without_mid

_OVERSAMPLING = 16
_POWER_ITERATIONS = 4
_FLOAT32 = torch.finfo(torch.float32)
"""What a file's alpha is held in."""


@dataclass(frozen=True)
class Size:
    """How large a LoRA may be."""

    rank: int = 0
    """At most; 0 for no limit."""
    energy: float = 0.0
    """Keep at least this share of a module's energy, the sum of its squared singular values; 0 for all."""

    @property
    def exact(self) -> bool:
        """Whether nothing is cut off."""
        return not self.rank and not self.energy


@dataclass(frozen=True)
class Cut:
    """A module of the size asked for."""

    module: LoraModule
    kept: float
    """Energy of the module."""
    total: float
    """Energy of what it was made from: its squared Frobenius norm."""


def concatenated(terms: Sequence[tuple[LoraModule, float]]) -> LoraModule:
    """The weighted sum of modules, exactly: their matrices side by side, so the rank is the sum of their ranks.

    A module keeps its numbers where all have the same alpha / rank and weight 1 (or -1, which turns signs). Otherwise
    those with the smaller factors are scaled down.

    Args:
        terms: modules for weights of one shape, each with its weight.

    Returns:
        A module in the matrices' widest dtype, alpha set so that alpha / rank is the largest of the factors; zeros with
        an alpha / rank of 1 if all of them are 0 or next to it: a file's alpha would be 0, which trainers read as rank.

    Raises:
        LoraError: a weight is so large that no file can hold it.
    """
    factors = [weight * module.scale for module, weight in terms]
    largest = max(abs(factor) for factor in factors)
    if largest < _FLOAT32.tiny:
        largest = 1.0
    whole = [without_mid(module) for module, _ in terms]
    kernel = max((module.down.shape[2:] for module in whole), key=len)
    downs = [module.down.reshape(*module.down.shape[:2], *kernel) for module in whole]
    ups = [
        _scaled(module.up.reshape(*module.up.shape[:2], *(1 for _ in kernel)), factor / largest)
        for module, factor in zip(whole, factors, strict=True)
    ]
    rank = sum(module.rank for module in whole)
    if largest * rank > _FLOAT32.max:
        raise LoraError(f"an alpha of {largest * rank:.3g} is not finite in a file; give smaller weights, such as 0.8")
    return LoraModule.plain(torch.cat(downs), torch.cat(ups, dim=1), largest * rank)


def energy(module: LoraModule) -> float:
    """Of the change that a module makes: its squared Frobenius norm, from the (rank, rank) products of its matrices."""
    module = without_mid(module)
    up, down = module.up.flatten(1).to(torch.float64), module.down.flatten(1).to(torch.float64)
    return module.scale**2 * float(((up.T @ up) * (down @ down.T)).sum())


def cut(module: LoraModule, size: Size) -> Cut:
    """The nearest module of a size.

    Args:
        module: without a middle matrix.
        size: with a rank or an energy.

    Returns:
        float32 matrices, each with the square root of the singular values. alpha / rank stays as it is.
    """
    up, down = module.up.flatten(1).to(torch.float64), module.down.flatten(1).to(torch.float64)
    up_basis, up_rest = torch.linalg.qr(up)
    down_basis, down_rest = torch.linalg.qr(down.T)
    left, values, right = torch.linalg.svd(up_rest @ down_rest.T, full_matrices=False)
    total = float(values.square().sum())
    rank = kept_rank(values, size, total)
    new = _module(up_basis @ left[:, :rank], values[:rank], right[:rank] @ down_basis.T, module.down.shape[1:])
    kept, squared = float(values[:rank].square().sum()), module.scale**2
    return Cut(replace(new, alpha=module.scale * rank), kept * squared, total * squared)


def factored(change: torch.Tensor, size: Size) -> Cut:
    """The nearest module of a size to the change of a whole weight.

    Where the rank is small beside the matrix, the space of its largest singular values is found from random products
    (Halko, Martinsson and Tropp 2011, with power iterations): many times faster, within 1 % of the best.

    Args:
        change: (out, in) or (out, in, kh, kw), float32.
        size: with a rank.

    Returns:
        float32 matrices, each with the square root of the singular values; alpha is the rank.
    """
    matrix = change.flatten(1)
    drawn = size.rank + _OVERSAMPLING
    if 2 * drawn >= min(matrix.shape):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # equal checkpoints give equal LoRAs
            left, values, columns = torch.svd_lowrank(matrix, drawn, _POWER_ITERATIONS)
        right = columns.T
    total = float(matrix.to(torch.float64).square().sum())
    rank = kept_rank(values, size, total)
    module = _module(left[:, :rank], values[:rank], right[:rank], change.shape[1:])
    return Cut(module, float(values[:rank].to(torch.float64).square().sum()), total)


def whole_cut(module: LoraModule, size: Size) -> Cut:
    """As `cut`, for a module whose rank is no smaller than the weight: made whole and factored.

    Args:
        module: of any kind of convolution.
        size: with a rank.
    """
    module = without_mid(module.to(torch.float32))
    change = (module.up.flatten(1) @ module.down.flatten(1)).reshape(module.up.shape[0], *module.down.shape[1:])
    found, squared = factored(change, size), module.scale**2
    new = replace(found.module, alpha=module.scale * found.module.rank)
    return Cut(new, found.kept * squared, found.total * squared)


def kept_rank(values: torch.Tensor, size: Size, total: float) -> int:
    """How many singular values stay: as few as hold the energy, at most the rank, at least one.

    Args:
        values: (k,), largest first.
        size: what is asked for.
        total: energy of the whole.
    """
    rank = min(len(values), size.rank or len(values))
    if size.energy:
        energies = values.to(torch.float64).square().cumsum(0)
        rank = min(rank, 1 + int((energies < size.energy * total).sum()))
    return rank


def _module(left: torch.Tensor, values: torch.Tensor, right: torch.Tensor, inputs: Sequence[int]) -> LoraModule:
    """A module of alpha / rank 1 from left (out, rank), values (rank,) and right (rank, in · kernel)."""
    half, rank = values.sqrt(), len(values)
    up = (left * half).reshape(-1, rank, *(1 for _ in inputs[1:]))
    down = (half[:, None] * right).reshape(rank, *inputs)
    return LoraModule.plain(down.to(torch.float32), up.to(torch.float32), float(rank))


def _scaled(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    return tensor if factor == 1 else tensor.to(torch.promote_types(tensor.dtype, torch.float32)) * factor
