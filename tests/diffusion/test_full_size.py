"""The real architectures at full size, without memory: what a single file's shapes say, and what is built from it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.diffusion.configs import original_configs
from lora_core.hub.formats import Header, TensorInfo
from lora_core.hub.layout import OriginalLayout, TextEncoderAt, read_layout

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


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_full_size_file_is_told_by_its_shapes(workshop: Any, architecture: Any) -> None:
    published, models = full_size(architecture)
    layout = OriginalLayout(architecture, 2, _UP[architecture], 4, _TEXTS[architecture])
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
