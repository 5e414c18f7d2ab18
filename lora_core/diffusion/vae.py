"""A VAE in a file of its own: in the original layout, with its prefix or without, or in diffusers' names."""

import re
from collections.abc import Collection
from pathlib import Path

from lora_core.diffusion.configs import vae_config
from lora_core.diffusion.source import PartSource, refuse_quantized
from lora_core.errors import CheckpointError
from lora_core.hub.detect import VAE_PREFIX, Architecture
from lora_core.hub.formats import read_header
from lora_core.hub.layout import Place, vae_name

_LATENT_CHANNELS = 4
_OLD_ATTENTION = (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))


def vae_source(path: Path, name: str, architecture: Architecture) -> PartSource:
    """Read the header of a VAE's file.

    Raises:
        CheckpointError: it is none, or one for another kind of model.
    """
    header = read_header(path, name)
    refuse_quantized(header, name)
    prefix = VAE_PREFIX if any(key.startswith(VAE_PREFIX) for key in header.tensors) else ""
    shapes = {key.removeprefix(prefix): shape for key, shape in header.shapes.items() if key.startswith(prefix)}
    if "encoder.conv_in.weight" not in shapes or "decoder.conv_out.weight" not in shapes:
        raise CheckpointError(f"{name}: no VAE of Stable Diffusion is in it; name a VAE's .safetensors file")
    levels = len({found[1] for key in shapes if (found := re.match(r"encoder\.down(?:_blocks)?\.(\d+)\.", key))})
    new_attention = any(".mid.attn_1.to_q." in key for key in shapes)

    def place(key: str) -> Place | None:
        there = _in_diffusers(key, shapes) or vae_name(key, levels, new_attention=new_attention)
        return Place(prefix + there) if there in shapes else None

    def shape_of(key: str) -> tuple[int, ...]:
        if (found := place(key)) is None:
            raise CheckpointError(f"{name}: the VAE's {key} is missing; the file is not whole")
        return shapes[found.key.removeprefix(prefix)]

    config = vae_config(architecture, levels, shape_of, shapes)
    if config["latent_channels"] != _LATENT_CHANNELS:
        raise CheckpointError(
            f"{name}: this VAE has {config['latent_channels']} latent channels, so it is for another kind of model "
            "(Stable Diffusion 3, Flux); Stable Diffusion 1, 2 and XL have 4"
        )
    return PartSource(config, {path: place})


def _in_diffusers(key: str, there: Collection[str]) -> str | None:
    """The key in a file with diffusers' names, of today or of 2022; None where the file has others."""
    names = [key]
    names += [key.replace(f".attentions.0.{new}.", f".attentions.0.{old}.") for old, new in _OLD_ATTENTION]
    return next((name for name in names if name in there), None)
