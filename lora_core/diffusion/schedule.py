"""The forward process of Stable Diffusion: how noise is mixed in, and what the U-Net has to predict.

Symbols as in Ho et al. 2020 (arXiv:2006.11239): beta_t, alpha_t = 1 - beta_t, alphas_cumprod_t = prod of alpha up to t.
"""

import torch

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
