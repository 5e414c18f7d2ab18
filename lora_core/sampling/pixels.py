"""Between latents and pictures, through the VAE."""

import numpy as np
import torch
from PIL import Image

from lora_core.diffusion.components import Components


@torch.no_grad()
def to_picture(components: Components, latent: torch.Tensor) -> Image.Image:
    """One picture from (4, h, w) latents, through the VAE in float32."""
    vae = components.vae
    pixels = vae.decode(latent[None].float() / vae.config.scaling_factor, return_dict=False)[0][0]
    values = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy()))


@torch.no_grad()
def to_latent(components: Components, picture: Image.Image) -> torch.Tensor:
    """Latents (1, 4, h, w) of an RGB picture: the mean of the VAE's distribution, in float32."""
    vae = components.vae
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    mean = vae.encode(pixels.to(vae.device), return_dict=False)[0].mode()
    return torch.as_tensor(mean.float() * vae.config.scaling_factor).to(components.unet.device)
