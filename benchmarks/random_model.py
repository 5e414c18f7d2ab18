"""A base model with the real shapes of SD1.5 and random weights: as fast and as large as the real one."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lora_core.diffusion.components import Components
from lora_core.diffusion.tokenizer import shipped_tokenizer

CONFIGS = Path(__file__).parents[1] / "lora_core/diffusion/configs"


def random_sd15(device: torch.device, dtype: torch.dtype) -> Components:
    """3.4 GB for the U-Net, 0.5 GB for the text encoder and 0.3 GB for the VAE in float32; the VAE always is."""
    configs = json.loads((CONFIGS / "sd1.json").read_text())
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(configs["unet"]).requires_grad_(False).eval()
    vae = AutoencoderKL.from_config(configs["vae"]).requires_grad_(False).eval()
    encoder = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])).requires_grad_(False).eval()
    return Components(
        "sd1", unet.to(device, dtype), vae.to(device), (encoder.to(device, dtype),),
        (shipped_tokenizer(pad_zero=False),), "epsilon",
    )  # fmt: skip
