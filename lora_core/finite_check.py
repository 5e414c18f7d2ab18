"""Whether numbers are numbers: one pass over memory that costs little beside reading them from a disk."""

import torch


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; either comes out as its least or its greatest number."""
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def not_finite(name: str, key: str) -> str:
    """The message for a file with numbers that are not finite."""
    return f"{name}: {key} holds numbers that are not finite (NaN or infinity); the file is broken, take another"
