"""Noise of one sample, changed in the ways that people use. Shapes are (C, h, w); generators are on the CPU."""

import torch
from torch.nn import functional


def offset_noise(noise: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """The noise plus one more normal number for each channel, times `strength`.

    Source: N. Guttenberg 2023, "Diffusion with Offset Noise" (Cross Labs).
    """
    return noise + strength * torch.randn((noise.shape[0], 1, 1), generator=generator)


def multires_noise(noise: torch.Tensor, iterations: int, discount: float, generator: torch.Generator) -> torch.Tensor:
    """The noise plus coarser and coarser noise, each level `discount` times the one before, scaled to deviation 1.

    A level's side is the latents' divided by r to the level's power, r drawn between 2 and 4 for every level; it is
    enlarged bilinearly. A side of 1 ends it. The first level is full-sized, as in sd-scripts' `pyramid_noise_like`.

    Source: J. Whitaker 2023, "Multi-Resolution Noise for Diffusion Model Training".
    """
    channels, height, width = noise.shape
    for level in range(iterations):
        ratio = 2 + 2 * torch.rand((), generator=generator).item()
        size = (max(1, int(height / ratio**level)), max(1, int(width / ratio**level)))
        coarse = torch.randn((1, channels, *size), generator=generator)
        noise = noise + discount**level * functional.interpolate(coarse, (height, width), mode="bilinear")[0]
        if 1 in size:
            break
    return noise / noise.std()
