"""Stable Diffusion with random weights in the real models' shapes, or a toy's: speed does not depend on the numbers."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.device import pick_dtype
from lora_core.diffusion.components import Components
from lora_core.diffusion.tokenizer import clip_vocabulary, shipped_tokenizer
from lora_core.hub.detect import Architecture
from measure.runner import Settings

CONFIGS = Path(__file__).parents[2] / "lora_core/diffusion/configs"
_TOY_TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
_TOY_UNET: dict[Architecture, dict[str, Any]] = {
    "sd1": {
        "block_out_channels": [32, 64], "layers_per_block": 1, "cross_attention_dim": 64, "attention_head_dim": 8,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
    "sdxl": {
        "block_out_channels": [32, 64, 64], "layers_per_block": 1, "cross_attention_dim": 128,
        "attention_head_dim": [1, 1, 1], "transformer_layers_per_block": [1, 1, 2],
        "projection_class_embeddings_input_dim": 6 * 256 + 64,
    },
}  # fmt: skip


def make(architecture: Architecture, device: torch.device, dtype: torch.dtype, *, toy: bool) -> Components:
    """A base model on a device; like a loaded one it is frozen and its VAE is float32."""
    configs = _configs(architecture, toy=toy)
    torch.manual_seed(0)
    with device:
        unet = UNet2DConditionModel.from_config(configs["unet"])
        vae = AutoencoderKL.from_config(configs["vae"])
        texts = [CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))]
        if architecture == "sdxl":
            texts.append(CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"])))
    for model in (unet, vae, *texts):
        # not the class' own `to`, which warns of lists of modules that are empty here
        torch.nn.Module.to(model, torch.float32 if model is vae else dtype).requires_grad_(False).eval()
    tokenizers = tuple(shipped_tokenizer(pad_zero=bool(number)) for number in range(len(texts)))
    return Components(architecture, unet, vae, tuple(texts), tokenizers, "epsilon")


def written(settings: Settings, architecture: Architecture, device: torch.device) -> Path:
    """A base model on the disk, written once for all jobs; a folder that a killed job left half written goes."""
    folder = settings.folder / f"base-{architecture}"
    if not folder.exists():
        half = settings.folder / f"half-{architecture}"
        shutil.rmtree(half, ignore_errors=True)
        write(make(architecture, device, pick_dtype("auto", device), toy=settings.rehearse), half).rename(folder)
    return folder


def write(model: Components, folder: Path) -> Path:
    """The model as a diffusers folder, with what diffusers' own pipelines ask for."""
    parts: dict[str, Any] = {"unet": model.unet, "vae": model.vae}
    classes = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "DDIMScheduler"}
    index = {part: ["diffusers", name] for part, name in classes.items()}
    for number, (text, tokenizer) in enumerate(zip(model.text_encoders, model.tokenizers, strict=True)):
        end = f"_{number + 1}" if number else ""
        parts[f"text_encoder{end}"] = text
        write_tokenizer(folder / f"tokenizer{end}")
        index |= {f"text_encoder{end}": ["transformers", type(text).__name__]}
        index |= {f"tokenizer{end}": ["transformers", type(tokenizer).__name__]}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    xl = model.architecture == "sdxl"
    kind = "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline"
    more = {} if xl else {"safety_checker": [None, None], "feature_extractor": [None, None]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind, **index, **more}))
    (folder / "scheduler").mkdir()
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    (folder / "scheduler/scheduler_config.json").write_text(
        json.dumps({"_class_name": "DDIMScheduler", "prediction_type": "epsilon", **schedule})
    )
    return folder


def write_tokenizer(folder: Path) -> None:
    """CLIP's, in the two files that every version of transformers reads."""
    vocabulary, merges = clip_vocabulary()
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _configs(architecture: Architecture, *, toy: bool) -> dict[str, Any]:
    configs: dict[str, Any] = json.loads((CONFIGS / f"{architecture}.json").read_text())
    if toy:
        configs["unet"] |= _TOY_UNET[architecture] | {"sample_size": 8}
        configs["vae"] |= {"block_out_channels": [32] * 4, "layers_per_block": 1}
        for part in ("text_encoder", "text_encoder_2"):
            if part in configs:
                configs[part] |= _TOY_TEXT | {"projection_dim": 64}
    return configs
