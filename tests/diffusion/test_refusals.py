"""What is no plain Stable Diffusion 1, 2 or XL is refused before anything is loaded, saying what it looks like."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.diffusion.read import read_source
from lora_core.errors import CheckpointError
from lora_core.hub import find_model_files

UNET = "model.diffusion_model."


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_source(find_model_files(str(path), ""))
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(path: Path, tensors: dict[str, torch.Tensor], without: str = "-") -> Path:
    kept = {key: tensor for key, tensor in load_file(path).items() if not key.startswith(without)}
    save_file({**kept, **tensors}, path)
    return path


@pytest.fixture
def single(workshop: Any, tmp_path: Path) -> Path:
    return Path(workshop.single_file(tmp_path / "model.safetensors", "sd2"))


@pytest.mark.parametrize(
    ("channels", "what"), [(9, "inpainting"), (8, "image-editing"), (7, "upscaler"), (5, "depth-to-image"), (6, "no")]
)
def test_a_unet_that_takes_more_than_latents_is_told_by_its_channels(single: Path, channels: int, what: str) -> None:
    found = refusal(changed(single, {f"{UNET}input_blocks.0.0.weight": torch.zeros(32, channels, 3, 3)}))
    assert what in found
    assert f"takes {channels} channels" in found


def test_a_unet_that_reads_classes_is_refused(single: Path) -> None:
    assert "unCLIP" in refusal(changed(single, {f"{UNET}label_emb.0.0.weight": torch.zeros(128, 96)}))


@pytest.mark.parametrize("mark", ["edm_mean", "edm_vpred.sigma_max"])
def test_a_model_trained_with_edm_is_told_by_its_marker_tensors(single: Path, mark: str) -> None:
    assert "EDM" in refusal(changed(single, {mark: torch.zeros(1)}))


@pytest.mark.parametrize(
    ("part", "what"),
    [("cond_stage_model.", "U-Net without its text encoder"), ("model.diffusion_model.", "a VAE alone")],
)
def test_a_checkpoint_without_a_part_is_told_by_what_it_lacks(single: Path, part: str, what: str) -> None:
    assert what in refusal(changed(single, {}, without=part))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("transformer_blocks.0.norm1.linear.weight", "diffusion transformer"),
        ("double_layers.0.attn.w1q.weight", "AuraFlow"),
        ("model.diffusion_model.input_blocks.1.1.time_stack.0.attn1.to_k.weight", "video"),
        ("control_model.time_embed.0.weight", "ControlNet"),
        ("ip_adapter.1.to_k_ip.weight", "IP-Adapter"),
        ("unet.down_blocks.0.attentions.0.proj_in.lora_A.weight", "a LoRA"),
        ("emb_params", "textual inversion"),
        ("first_stage_model.encoder.down.0.block.0.conv1.weight", "VAE alone"),
    ],
)
def test_other_files_are_told_by_their_tensors_names(tmp_path: Path, key: str, what: str) -> None:
    save_file({key: torch.zeros(1)}, tmp_path / "a.safetensors")
    assert what in refusal(tmp_path / "a.safetensors")


def test_a_folder_with_a_transformer_is_told_from_one_with_a_unet(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer/config.json").write_text("{}")
    assert "Stable Diffusion 3, Flux" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("unet/config.json", {"in_channels": 9}, "inpainting"),
        ("unet/config.json", {"class_embed_type": "projection"}, "unCLIP"),
        ("unet/config.json", {"encoder_hid_dim_type": "text_proj"}, "Kolors"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "LCM"),
        ("unet/config.json", {"addition_embed_type": "image"}, "'image'"),
        ("text_encoder/config.json", {"model_type": "t5"}, "text_encoder is a t5 model"),
        ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatch"),
    ],
)
def test_a_folder_of_another_kind_is_told_by_its_configs(
    workshop: Any, tmp_path: Path, file: str, change: dict[str, Any], what: str
) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**config, **change}))
    assert what in refusal(folder)


def test_a_folder_whose_unet_and_text_encoders_do_not_belong_together_is_refused(workshop: Any, tmp_path: Path) -> None:
    xl, sd1 = workshop.folder(tmp_path / "xl", "sdxl"), workshop.folder(tmp_path / "sd1", "sd1")
    shutil.copytree(xl / "text_encoder_2", sd1 / "text_encoder_2")
    assert "text_encoder_2 belongs to SDXL only" in refusal(sd1)
    shutil.rmtree(xl / "text_encoder_2")
    assert "text_encoder_2 is missing" in refusal(xl)


def test_a_folder_is_known_by_its_tensors_whatever_it_is_called(workshop: Any, tmp_path: Path) -> None:
    for architecture in ("sd1", "sd2", "sdxl"):
        folder = workshop.folder(tmp_path / f"not-{architecture}", architecture)
        assert read_source(find_model_files(str(folder), "")).architecture == architecture
