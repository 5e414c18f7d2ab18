"""Names of the original layout, against diffusers' own conversion of single files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from lora_core.errors import CheckpointError
from lora_core.hub.detect import detect_architecture
from lora_core.hub.layout import OriginalLayout, TextEncoderAt, read_layout, text_place

_CONFIGS = Path(__file__).parents[2] / "lora_core/diffusion/configs"
_UP = {"sd1": (False, True, True, True), "sd2": (False, True, True, True), "sdxl": (True, True, False)}


def full_layout(architecture: Any) -> OriginalLayout:
    return OriginalLayout(architecture, 2, _UP[architecture], 4, ())


def shipped(architecture: str) -> dict[str, Any]:
    configs: dict[str, Any] = json.loads((_CONFIGS / f"{architecture}.json").read_text())
    return configs


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_diffusers_finds_every_unet_tensor_where_we_say_it_is_at_full_size(architecture: str) -> None:
    config = shipped(architecture)["unet"]
    with torch.device("meta"):
        wanted = UNet2DConditionModel.from_config(config).state_dict()
    layout = full_layout(architecture)
    original = {layout.place("unet", key).key: tensor for key, tensor in wanted.items()}
    assert len(original) == len(wanted)

    found = convert_ldm_unet_checkpoint(original, config)

    assert {key: tensor.shape for key, tensor in found.items()} == {key: t.shape for key, t in wanted.items()}
    assert all(found[key] is wanted[key] for key in wanted)


def test_diffusers_finds_every_vae_tensor_where_we_say_it_is_at_full_size() -> None:
    config = shipped("sd1")["vae"]
    with torch.device("meta"):
        wanted = AutoencoderKL.from_config(config).state_dict()
    layout = full_layout("sd1")
    original = {layout.place("vae", key).key: tensor for key, tensor in wanted.items()}
    assert len(original) == len(wanted)

    found = convert_ldm_vae_checkpoint(original, config)

    assert found.keys() == wanted.keys()
    assert all(found[key] is wanted[key] for key in wanted)


def test_diffusers_takes_the_same_thirds_of_open_clips_fused_attention() -> None:
    config = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 1}
    model = CLIPTextModelWithProjection(
        CLIPTextConfig(**config, projection_dim=8, vocab_size=10, bos_token_id=8, eos_token_id=9)
    )
    wanted = model.state_dict()
    at = TextEncoderAt("conditioner.embedders.1.model.", "open_clip")
    original: dict[str, torch.Tensor] = {}
    for key, tensor in wanted.items():
        place = text_place(key, at)
        if place.third is not None:
            fused = original.setdefault(place.key, torch.empty(3 * tensor.shape[0], *tensor.shape[1:]))
            fused.chunk(3)[place.third].copy_(tensor)
        else:
            original[place.key] = tensor.T if place.transposed else tensor

    found = convert_open_clip_checkpoint(model, original, prefix=at.prefix)

    assert found.keys() == wanted.keys()
    for key in wanted:
        assert torch.equal(found[key], wanted[key])
        assert torch.equal(text_place(key, at).take(original[text_place(key, at).key]), wanted[key])


def test_known_names_of_sd15_are_where_everybody_knows_them() -> None:
    layout = full_layout("sd1")
    assert layout.place("unet", "up_blocks.0.upsamplers.0.conv.weight").key == (
        "model.diffusion_model.output_blocks.2.1.conv.weight"
    )
    assert layout.place("unet", "up_blocks.1.upsamplers.0.conv.weight").key == (
        "model.diffusion_model.output_blocks.5.2.conv.weight"
    )
    assert layout.place("unet", "down_blocks.1.attentions.0.proj_in.weight").key == (
        "model.diffusion_model.input_blocks.4.1.proj_in.weight"
    )
    assert layout.place("vae", "decoder.up_blocks.0.resnets.2.conv1.weight").key == (
        "first_stage_model.decoder.up.3.block.2.conv1.weight"
    )


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_files_build_is_read_from_its_names(workshop: Any, architecture: Any, tmp_path: Path) -> None:
    from lora_core.hub.formats import read_header

    path = workshop.single_file(tmp_path / "m.safetensors", architecture)
    assert read_layout(read_header(path, "m").shapes, "m") == workshop.layouts[architecture]


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("double_blocks.0.img_attn.qkv.weight", "Flux"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
        ("lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", "a LoRA"),
        ("model.diffusion_model.out.0.weight", "U-Net without its text encoder"),
        ("encoder.down.0.block.0.conv1.weight", "a VAE alone"),
        ("down_blocks.0.resnets.0.conv1.weight", "name the folder"),
        ("anything", "'anything'"),
    ],
)
def test_what_cannot_be_used_is_refused_saying_what_it_looks_like(key: str, what: str) -> None:
    with pytest.raises(CheckpointError, match=what):
        detect_architecture({key: (1,)}, "model.safetensors")
