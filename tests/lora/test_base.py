"""A LoRA on a base for sampling: swapped in place, without touching the base."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.errors import LoraError
from lora_core.lora.attach import attach, detach
from lora_core.lora.file import read_lora


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_an_attached_file_draws_what_the_model_in_training_drew(workshop: Any, made: Any, architecture: str) -> None:
    base = workshop.load(made[architecture].single)
    before = workshop.draw(base)
    attach(base, made[architecture].lora, 1.0)
    torch.testing.assert_close(workshop.draw(base), made[architecture].drawn)
    detach(base)
    assert all(torch.equal(a, b) for a, b in zip(before, workshop.draw(base), strict=True))


def test_another_file_of_another_rank_replaces_the_first(workshop: Any, made: Any) -> None:
    base, fresh = (workshop.load(made["sd1"].single) for _ in range(2))
    attach(base, made["sd1"].lora, 1.0)
    attach(base, made["sd1"].other_rank, 1.0)
    attach(fresh, made["sd1"].other_rank, 1.0)
    assert torch.equal(workshop.draw(base)[0], workshop.draw(fresh)[0])


def test_the_weight_can_be_changed_and_zero_means_no_lora(workshop: Any, made: Any) -> None:
    base = workshop.load(made["sd1"].single)
    without = workshop.draw(base)[1]
    lora = read_lora(made["sd1"].lora)
    attach(base, lora, 1.0)
    full = workshop.draw(base)[1]
    attach(base, lora, 0.0)
    assert torch.equal(workshop.draw(base)[1], without)
    attach(base, lora, 1.0)
    assert torch.equal(workshop.draw(base)[1], full)
    assert not torch.equal(full, without)


def test_detaching_nothing_is_fine(workshop: Any, made: Any) -> None:
    base, fresh = (workshop.load(made["sd1"].single) for _ in range(2))
    detach(base)
    assert torch.equal(workshop.draw(base)[1], workshop.draw(fresh)[1])


def test_a_lora_of_another_architecture_is_refused_and_the_former_stays(workshop: Any, made: Any) -> None:
    base = workshop.load(made["sd1"].single)
    attach(base, made["sd1"].lora, 1.0)
    with pytest.raises(LoraError, match="trained on sdxl, the base is sd1"):
        attach(base, made["sdxl"].lora, 1.0)
    torch.testing.assert_close(workshop.draw(base), made["sd1"].drawn)


def test_a_lora_of_another_width_is_refused(workshop: Any, made: Any, tmp_path: Path) -> None:
    tensors = load_file(made["sd1"].lora)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    tensors[f"{name}.lora_up.weight"] = torch.zeros(99, 4)
    save_file(tensors, tmp_path / "wide.safetensors")
    with pytest.raises(LoraError, match=rf"{name} is made for a weight of 99×64, the base's has 128×64"):
        attach(workshop.load(made["sd1"].single), tmp_path / "wide.safetensors", 1.0)


def test_sdxl_files_with_diffusers_block_names_attach_as_well(workshop: Any, made: Any, tmp_path: Path) -> None:
    renamed = {
        key.replace("input_blocks_4_1_", "down_blocks_1_attentions_0_"): tensor
        for key, tensor in load_file(made["sdxl"].lora).items()
    }
    assert any("down_blocks_1_attentions_0" in key for key in renamed)
    save_file(renamed, tmp_path / "renamed.safetensors")
    base = workshop.load(made["sdxl"].single)
    attach(base, tmp_path / "renamed.safetensors", 1.0)
    torch.testing.assert_close(workshop.draw(base), made["sdxl"].drawn)


def test_convolutions_of_resnets_attach_with_their_stride(workshop: Any, made: Any, tmp_path: Path) -> None:
    base = workshop.load(made["sd1"].single)
    name, path = "lora_unet_down_blocks_0_downsamplers_0_conv", "down_blocks.0.downsamplers.0.conv"
    down, up = torch.randn(2, 32, 3, 3), torch.randn(32, 2, 1, 1)
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, tmp_path / "conv.safetensors")
    attach(base, tmp_path / "conv.safetensors", 0.5)
    attached = workshop.draw(base)[0]
    detach(base)
    change = (up.flatten(1) @ down.flatten(1)).reshape(32, 32, 3, 3)
    base.unet.get_submodule(path).weight.data += 0.5 * change
    torch.testing.assert_close(attached, workshop.draw(base)[0], rtol=1e-4, atol=1e-4)
