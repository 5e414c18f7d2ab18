"""DoRA's lengths: what a weight's columns or rows are scaled to (Liu et al. 2024, arXiv:2402.09353)."""

import torch


def column_norms(weight: torch.Tensor, side: int = 0) -> torch.Tensor:
    """Lengths of the columns of a weight (out, in) or (out, in, kh, kw): (1, in) or (1, in, 1, 1); side 1: of rows."""
    norms: torch.Tensor = torch.linalg.vector_norm(weight, dim=(side, *range(2, weight.ndim)), keepdim=True)
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
        return column_norms(weight, side=1)
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
