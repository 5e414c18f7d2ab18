"""Tiny Stable Diffusion models with random weights, as diffusers folders and as single files in the original layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.diffusion.tokenizer import clip_vocabulary
from lora_core.hub.layout import OriginalLayout, Part, TextEncoderAt

_SHIPPED = Path(__file__).parents[2] / "lora_core/diffusion/configs"
SD1 = OriginalLayout(
    "sd1", 1, (False, True), 2, (TextEncoderAt("cond_stage_model.transformer.text_model.", "transformers"),)
)
SD2 = OriginalLayout("sd2", 1, (False, True), 2, (TextEncoderAt("cond_stage_model.model.", "open_clip"),))
SDXL = OriginalLayout(
    "sdxl",
    2,
    (True, True, False),
    2,
    (
        TextEncoderAt("conditioner.embedders.0.transformer.text_model.", "transformers"),
        TextEncoderAt("conditioner.embedders.1.model.", "open_clip"),
    ),
)


def tiny_configs(layout: OriginalLayout) -> dict[str, dict[str, Any]]:
    """The architecture's own configs, with few channels and layers."""
    configs: dict[str, dict[str, Any]] = json.loads((_SHIPPED / f"{layout.architecture}.json").read_text())
    levels = len(layout.up_attention)
    wide = [32, 64, 64][:levels]
    deep = list(reversed(layout.up_attention))
    configs["unet"] |= {
        "block_out_channels": wide,
        "layers_per_block": layout.layers,
        "cross_attention_dim": 64 if layout.architecture != "sdxl" else 128,
        "sample_size": 8,
        "down_block_types": ["CrossAttnDownBlock2D" if there else "DownBlock2D" for there in deep],
        "up_block_types": ["CrossAttnUpBlock2D" if there else "UpBlock2D" for there in layout.up_attention],
        "attention_head_dim": 8 if layout.architecture == "sd1" else [max(1, width // 64) for width in wide],
    }
    if layout.architecture == "sdxl":
        configs["unet"] |= {"transformer_layers_per_block": [1, 1, 2], "projection_class_embeddings_input_dim": 6 * 256 + 64}
    configs["vae"] |= {
        "block_out_channels": [32, 64],
        "layers_per_block": 1,
        "sample_size": 16,
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
    }
    for part in ("text_encoder", "text_encoder_2"):
        if part in configs:
            configs[part] |= {
                "hidden_size": 64,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 1,
                "projection_dim": 64,
            }
    return configs


def tiny_models(layout: OriginalLayout) -> dict[Part, nn.Module]:
    """The models with random weights."""
    configs = tiny_configs(layout)
    torch.manual_seed(0)
    models: dict[Part, nn.Module] = {
        "unet": UNet2DConditionModel.from_config(configs["unet"]),
        "vae": AutoencoderKL.from_config(configs["vae"]),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
    }
    if "text_encoder_2" in configs:
        models["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
    return {part: model.eval().requires_grad_(False) for part, model in models.items()}


def original_tensors(models: Mapping[Part, nn.Module], layout: OriginalLayout) -> dict[str, torch.Tensor]:
    """The models' tensors as a single file holds them: old files keep the VAE's attention as 1×1 convolutions."""
    tensors: dict[str, torch.Tensor] = {}
    thirds: dict[str, list[torch.Tensor]] = {}
    for part, model in models.items():
        for key, value in model.state_dict().items():
            place = layout.place(part, key)
            if part == "vae" and ".to_" in key and key.endswith("weight"):
                value = value[:, :, None, None]
            if place.third is not None:
                thirds.setdefault(place.key, [value] * 3)[place.third] = value
            else:
                tensors[place.key] = value.T if place.transposed else value
    tensors |= {key: torch.cat(parts) for key, parts in thirds.items()}
    return {key: value.contiguous() for key, value in tensors.items()}


def write_single(
    path: Path, layout: OriginalLayout, dtype: torch.dtype = torch.float32, metadata: dict[str, str] | None = None
) -> dict[Part, nn.Module]:
    """Write a single file; returns the models it was made of."""
    models = tiny_models(layout)
    tensors = {key: value.to(dtype) for key, value in original_tensors(models, layout).items()}
    tensors["model_ema.decay"] = torch.zeros(())
    if layout.architecture == "sd1":
        tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, path, metadata)
    return models


def write_folder(folder: Path, layout: OriginalLayout, variant: str | None = None) -> dict[Part, nn.Module]:
    """Write a diffusers folder; returns the models in it."""
    models = tiny_models(layout)
    for part, model in models.items():
        model.save_pretrained(folder / part, variant=variant)  # type: ignore[operator]
    vocabulary, merges = clip_vocabulary()
    for part in ("tokenizer", "tokenizer_2")[: len(layout.text_encoders)]:
        (folder / part).mkdir()
        (folder / part / "vocab.json").write_text(json.dumps(vocabulary))
        (folder / part / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon"}))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return models
