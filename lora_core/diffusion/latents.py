"""Pictures to latents, once, in float32: an fp16 VAE overflows on some checkpoints and gives black pictures."""

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image


def picture_tensor(picture: Image.Image) -> torch.Tensor:
    """An RGB picture as (3, H, W) float32 in [-1, 1]."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1.0).permute(2, 0, 1).contiguous()


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One sample of the VAE's latent distribution, scaled by its factor (0.18215 for SD1 and SD2, 0.13025 for SDXL).

    Args:
        vae: in float32.
        pixels: (3, H, W) in [-1, 1]; H and W divisible by 8.
        generator: on the CPU, so that the sample is the same whatever the device.

    Returns:
        (4, H / 8, W / 8) float32 on the CPU.
    """
    device = next(vae.parameters()).device
    distribution = vae.encode(pixels[None].to(device, torch.float32)).latent_dist
    noise = torch.randn(distribution.mean.shape, generator=generator).to(device)
    sample: torch.Tensor = (distribution.mean + distribution.std * noise) * vae.config.scaling_factor
    return sample[0].cpu()
