"""The real architectures at full size, without memory: what a single file's shapes say, and what is built from it."""

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.bases.presets import base_presets
from lora_core.diffusion.components import load_components
from lora_core.diffusion.configs import original_configs
from lora_core.hub.detect import Architecture
from lora_core.hub.formats import Header, TensorInfo, header_bytes
from lora_core.hub.layout import OriginalLayout, TextEncoderAt, read_layout
from lora_core.recipe import Recipe
from lora_core.training.memory import memory_of

_CONFIGS = Path(__file__).parents[2] / "lora_core/diffusion/configs"
_UP = {"sd1": (False, True, True, True), "sd2": (False, True, True, True), "sdxl": (True, True, False)}
_TEXTS = {
    "sd1": (TextEncoderAt("cond_stage_model.transformer.text_model.", "transformers"),),
    "sd2": (TextEncoderAt("cond_stage_model.model.", "open_clip"),),
    "sdxl": (
        TextEncoderAt("conditioner.embedders.0.transformer.text_model.", "transformers"),
        TextEncoderAt("conditioner.embedders.1.model.", "open_clip"),
    ),
}


def full_size(architecture: str) -> tuple[dict[str, Any], dict[Any, torch.nn.Module]]:
    """The published configs, and the models made of them on the meta device."""
    configs = json.loads((_CONFIGS / f"{architecture}.json").read_text())
    with torch.device("meta"):
        models: dict[Any, torch.nn.Module] = {
            "unet": UNet2DConditionModel.from_config(configs["unet"]),
            "vae": AutoencoderKL.from_config(configs["vae"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
        }
        if "text_encoder_2" in configs:
            models["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
    return configs, models


def layout_of(architecture: Architecture) -> OriginalLayout:
    return OriginalLayout(architecture, 2, _UP[architecture], 4, _TEXTS[architecture])


def hollow_file(workshop: Any, path: Path, architecture: Architecture) -> Path:
    """A single file in fp16 with the real names, shapes and size; its numbers are a hole that takes no disk."""
    infos: dict[str, TensorInfo] = {}
    size = 0
    for key, tensor in workshop.original_tensors(full_size(architecture)[1], layout_of(architecture)).items():
        start, size = size, size + 2 * prod(tensor.shape)
        infos[key] = TensorInfo("F16", tuple(tensor.shape), start, size)
    header = header_bytes(infos, {})
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    return path


_GB = {"sd1": (2.1, 3.5, 6.0), "sd2": (2.6, 4.0, 8.0), "sdxl": (6.9, 12.0, 20.0)}
"""Of the published file in fp16, and what training in bf16 takes at least and at most: the card that it is for."""


@pytest.mark.parametrize("architecture", ["sd1", "sd2", pytest.param("sdxl", marks=pytest.mark.long)])
def test_every_preset_trains_a_full_size_file_on_the_card_that_its_numbers_are_for(
    workshop: Any, tmp_path: Path, architecture: Architecture
) -> None:
    path = hollow_file(workshop, tmp_path / f"{architecture}.safetensors", architecture)
    file_gb, least, most = _GB[architecture]
    assert path.stat().st_size / 1e9 == pytest.approx(file_gb, abs=0.05)
    meta = torch.device("meta")
    components = load_components({path.name: path}, device=meta, dtype=torch.bfloat16)
    for preset in base_presets():
        if preset.architecture == architecture:
            needed = {"name": "any", "style": "style", "character": "character", "base": {"model": path.name}}
            recipe = Recipe.model_validate({**preset.sections, **needed})
            for training in (recipe.style_training, recipe.character_training):
                assert least < memory_of(components, training) / 1e9 < most, preset.name


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_full_size_file_is_told_by_its_shapes(workshop: Any, architecture: Any) -> None:
    published, models = full_size(architecture)
    layout = layout_of(architecture)
    tensors = workshop.original_tensors(models, layout)
    if architecture == "sd2":  # published with a 24th layer that nothing reads
        last = "cond_stage_model.model.transformer.resblocks.22."
        tensors |= {k.replace(".22.", ".23."): tensor for k, tensor in tensors.items() if k.startswith(last)}
    header = Header({key: TensorInfo("F16", tuple(tensor.shape), 0, 0) for key, tensor in tensors.items()}, {}, 0)

    assert read_layout(header.shapes, "m") == layout
    found = original_configs(header, layout, "m")

    assert found.keys() == published.keys()
    for part, config in published.items():
        differing = {key for key, value in config.items() if found[part][key] != value}
        assert differing == set(), part
    if architecture == "sdxl":
        assert found["text_encoder_2"]["projection_dim"] == 1280
        assert found["unet"]["projection_class_embeddings_input_dim"] == 1280 + 6 * 256
