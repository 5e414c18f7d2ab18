"""Pictures to latents, once, in float32: an fp16 VAE overflows on some checkpoints and gives black pictures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image


def picture_tensor(picture: Image.Image) -> torch.Tensor:
    """An RGB picture as (3, H, W) float32 in [-1, 1]."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1.0).permute(2, 0, 1).contiguous()


class Moments(NamedTuple):
    """What the VAE says of a picture: mean and standard deviation of each of its latents, (4, h, w) float32."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def sample(self, generator: torch.Generator, factor: float) -> torch.Tensor:
        """One sample, scaled by the VAE's factor; the generator is on the CPU, whatever the VAE was on."""
        noise = torch.randn(self.mean.shape, generator=generator)
        return (self.mean + self.deviation * noise) * factor


@torch.no_grad()
def moments(vae: AutoencoderKL, pixels: Sequence[torch.Tensor]) -> list[Moments]:
    """The VAE's latent distribution of each picture of a batch, on the CPU.

    Args:
        vae: in float32.
        pixels: each (3, H, W) in [-1, 1], all of one size; H and W divisible by 8.
    """
    device = next(vae.parameters()).device
    distribution = vae.encode(torch.stack(list(pixels)).to(device, torch.float32)).latent_dist
    found = zip(distribution.mean.cpu(), distribution.std.cpu(), strict=True)
    return [Moments(mean.clone(), deviation.clone()) for mean, deviation in found]


def encode(vae: AutoencoderKL, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One sample of the VAE's latent distribution, scaled by its factor (0.18215 for SD1 and SD2, 0.13025 for SDXL).

    Args:
        vae: in float32.
        pixels: (3, H, W) in [-1, 1]; H and W divisible by 8.
        generator: on the CPU, so that the sample is the same whatever the device.

    Returns:
        (4, H / 8, W / 8) float32 on the CPU.
    """
    return moments(vae, [pixels])[0].sample(generator, vae.config.scaling_factor)
