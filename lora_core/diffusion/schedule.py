"""The diffusion process of Stable Diffusion: how noise is drawn and mixed in, the U-Net's target, and the loss.

Symbols as in Ho et al. 2020 (arXiv:2006.11239): beta_t, alpha_t = 1 - beta_t, alphas_cumprod_t = prod of alpha up to t.
"""

from typing import Literal

import torch
from torch.nn import functional

from lora_core.diffusion.source import Prediction

TRAIN_STEPS = 1000


def alphas_cumprod(steps: int = TRAIN_STEPS, start: float = 0.00085, end: float = 0.012) -> torch.Tensor:
    """Stable Diffusion's "scaled_linear" schedule: the square root of beta rises linearly (CompVis' `ldm`).

    Returns:
        (steps,) float32, falling from near 1 to near 0.
    """
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def zero_terminal(alphas: torch.Tensor) -> torch.Tensor:
    """Cumulative alphas rescaled so that the last timestep holds no signal and the first is as before.

    Source: Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv:2305.08891),
    algorithm 1: the square roots are shifted and stretched.

    Args:
        alphas: (steps,), from `alphas_cumprod`.

    Returns:
        (steps,), the last one 0.
    """
    roots = alphas.sqrt()
    rescaled: torch.Tensor = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return rescaled


def snr(alphas: torch.Tensor) -> torch.Tensor:
    """Signal-to-noise ratio alpha / (1 - alpha) of cumulative alphas, any shape."""
    return alphas / (1.0 - alphas)


def add_noise(latents: torch.Tensor, noise: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
    """sqrt(alpha) · latents + sqrt(1 - alpha) · noise (Ho et al. 2020, equation 4).

    Args:
        latents: (B, C, H, W).
        noise: (B, C, H, W), standard normal.
        alphas: (B,), cumulative alphas at each sample's timestep.
    """
    alphas = alphas.view(-1, 1, 1, 1)
    return alphas.sqrt() * latents + (1.0 - alphas).sqrt() * noise


def target(latents: torch.Tensor, noise: torch.Tensor, alphas: torch.Tensor, prediction: Prediction) -> torch.Tensor:
    """What the U-Net is to predict: the noise, or v = sqrt(alpha) · noise - sqrt(1 - alpha) · latents.

    Source of v: Salimans and Ho 2022 (arXiv:2202.00512), appendix D. Shapes as in `add_noise`.
    """
    if prediction == "epsilon":
        return noise
    alphas = alphas.view(-1, 1, 1, 1)
    return alphas.sqrt() * noise - (1.0 - alphas).sqrt() * latents


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


def min_snr_weight(snr: torch.Tensor, gamma: float, prediction: Prediction = "epsilon") -> torch.Tensor:
    """min(snr, gamma) / snr, for v-prediction min(snr, gamma) / (snr + 1).

    Source: Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy" (arXiv:2303.09556).

    Args:
        snr: signal-to-noise ratios, any shape.
        gamma: the cap; 5 in the paper.
        prediction: what the U-Net predicts.
    """
    divisor = snr if prediction == "epsilon" else snr + 1.0
    return snr.clamp(max=gamma) / divisor


def debiased_weight(snr: torch.Tensor, prediction: Prediction = "epsilon") -> torch.Tensor:
    """1 / √snr, for v-prediction 1 / (snr + 1); the ratio is taken as 1000 at most, as sd-scripts does.

    Source: Yu et al. 2023, "Debias the Training of Diffusion Models" (arXiv:2310.08442).

    Args:
        snr: signal-to-noise ratios, any shape.
        prediction: what the U-Net predicts.
    """
    snr = snr.clamp(max=1000.0)
    return 1.0 / (snr.sqrt() if prediction == "epsilon" else snr + 1.0)


def huber_c(
    alphas: torch.Tensor, timesteps: torch.Tensor, c: float, schedule: Literal["snr", "exponential", "constant"]
) -> torch.Tensor:
    """Pseudo-Huber's c of every sample, in sd-scripts' three schedules: from 1 without noise towards c, or c alone.

    Source: Khrapov et al. 2024 (arXiv:2403.16728); snr: (1 - c) / (1 + sigma)^2 + c.

    Args:
        alphas: (B,), cumulative alphas at the timesteps.
        timesteps: (B,).
        c: at pure noise.
        schedule: constant: c everywhere; exponential: c to the power of timestep / 1000.
    """
    if schedule == "constant":
        return torch.full_like(alphas, c)
    if schedule == "exponential":
        return c ** (timesteps.to(alphas.dtype) / TRAIN_STEPS)
    sigmas = ((1.0 - alphas) / alphas).sqrt()
    return (1.0 - c) / (1.0 + sigmas) ** 2 + c


def pseudo_huber(errors: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """2 c (sqrt(error^2 + c^2) - c): error^2 where it is small beside c, 2 c |error| where it is large.

    Source: Charbonnier et al. 1997; with the factor 2 c as in sd-scripts, so that small errors count as with l2.

    Args:
        errors: (B, C, H, W).
        c: (B,).
    """
    c = c.view(-1, 1, 1, 1)
    return 2 * c * errors**2 / ((errors**2 + c**2).sqrt() + c)  # the same without the difference, which would cancel


def weighted_mean(errors: torch.Tensor, weights: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over the batch of weight · mean error of the sample.

    The weights do not divide the sum: a regularization picture at weight 0.5 counts half, as in sd-scripts. Neither do
    the masks: a subject that fills a quarter of the picture counts a quarter, also as there.

    Args:
        errors: (B, C, H, W), in float32.
        weights: (B,).
        masks: (B, 1, H, W), how much each place counts, 0 to 1.

    Returns:
        A scalar.
    """
    if masks is not None:
        errors = errors * masks
    return (errors.mean(dim=(1, 2, 3)) * weights).mean()
