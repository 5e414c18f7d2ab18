"""A base model in memory: its U-Net, VAE, text encoders and tokenizers, from a single file or a diffusers folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lora_core.diffusion.read import read_source
from lora_core.diffusion.source import Prediction, Source
from lora_core.diffusion.tokenizer import folder_tokenizer, shipped_tokenizer
from lora_core.diffusion.weights import build
from lora_core.errors import CheckpointError
from lora_core.hub.layout import Architecture, Part
from lora_core.recipe import Process

_TEXTS: tuple[Part, ...] = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Components:
    """A base model. Everything is frozen and in eval mode; the VAE is float32 whatever the rest is."""

    architecture: Architecture
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]
    tokenizers: tuple[CLIPTokenizer, ...]
    prediction_type: Prediction
    zero_terminal_snr: bool = False
    """Whether the noise schedule is rescaled so that the last timestep is pure noise."""


def load_components(
    files: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype, process: Process | None = None
) -> Components:
    """Load a base model. Nothing is looked for anywhere else: no network, no cache.

    Args:
        files: the model's files, relative name → where the bytes are (whatever they are called on disk). One name that
            ends in .safetensors is a single file in the original layout; otherwise the files of a diffusers folder.
        device: where the weights go.
        dtype: format of the U-Net and the text encoders; the VAE is always float32, it overflows in float16.
        process: what the recipe says of the diffusion process; None: what the model says itself.

    Raises:
        CheckpointError: a part is missing, a file is broken, or the model is of a kind that cannot be used.
    """
    source = read_source(files, process)

    def filled(part: Part) -> Any:
        there = source.parts[part]
        kind = torch.float32 if part == "vae" else dtype
        label = f"{source.name}: {part}"
        return build(lambda: _make(part, there.config), there.places, part=label, device=device, dtype=kind)

    return Components(
        architecture=source.architecture,
        unet=filled("unet"),
        vae=filled("vae"),
        text_encoders=tuple(filled(part) for part in _TEXTS if part in source.parts),
        tokenizers=_tokenizers(source, files),
        prediction_type=source.prediction,
        zero_terminal_snr=source.zero_terminal_snr,
    )


def _tokenizers(source: Source, files: Mapping[str, Path]) -> tuple[CLIPTokenizer, ...]:
    if source.open_clip:
        return tuple(shipped_tokenizer(pad_zero=zero) for zero in source.open_clip)
    parts = [part.replace("text_encoder", "tokenizer") for part in _TEXTS if part in source.parts]
    return tuple(folder_tokenizer(files, part) for part in parts)


def _make(part: Part, config: Mapping[str, Any]) -> Any:
    try:
        if part == "unet":
            return UNet2DConditionModel.from_config(dict(config))
        if part == "vae":
            return AutoencoderKL.from_config(dict(config))
        text = CLIPTextConfig.from_dict(dict(config))
        return CLIPTextModelWithProjection(text) if part == "text_encoder_2" else CLIPTextModel(text)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"base model: {part}'s config makes no model ({error})") from error
