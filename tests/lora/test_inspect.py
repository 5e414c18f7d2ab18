"""What a file is."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lora_core.errors import CheckpointError
from lora_core.lora.inspect import Tag, inspect_file


def test_a_lora_tells_its_rank_alpha_parts_and_tags(tmp_path: Path) -> None:
    tensors = {}
    for name, rank in (
        ("lora_unet_down_blocks_0_attentions_0_proj_in", 4),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", 2),
    ):
        tensors[f"{name}.lora_down.weight"] = torch.zeros(rank, 8)
        tensors[f"{name}.lora_up.weight"] = torch.zeros(8, rank)
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    frequency = json.dumps({"10_a": {"1girl": 3, "smile": 1}, "2_b": {"1girl": 2}})
    save_file(tensors, tmp_path / "a.safetensors", {"ss_tag_frequency": frequency, "ss_base_model_version": "sd_v1"})
    found = inspect_file(tmp_path / "a.safetensors")
    assert (found.kind, found.architecture, found.modules) == ("lora", "sd1", 2)
    assert (found.ranks, found.alphas) == ((2, 4), (2.0,))
    assert found.parts == {"U-Net": 1, "text encoder": 1}
    assert found.tags == (Tag(name="1girl", count=5), Tag(name="smile", count=1))
    assert "rank          2, 4" in str(found)


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_our_own_files_are_known(made: Any, architecture: str) -> None:
    assert inspect_file(made[architecture].single).architecture == architecture
    assert inspect_file(made[architecture].single).kind == "checkpoint"
    lora = inspect_file(made[architecture].lora)
    assert lora.kind == "lora"
    assert architecture in lora.architecture
    assert (lora.ranks, lora.alphas) == ((4,), (2.0,))


def test_metadata_that_is_rubbish_does_not_matter(tmp_path: Path) -> None:
    for number, text in enumerate(("{", "[]", '{"a": 1}', '{"a": {"b": "x"}}')):
        path = tmp_path / f"{number}.safetensors"
        save_file(
            {"lora_unet_a.lora_down.weight": torch.zeros(1, 1), "lora_unet_a.lora_up.weight": torch.zeros(1, 1)},
            path,
            {"ss_tag_frequency": text},
        )
        assert inspect_file(path).tags == ()


def test_other_files_are_told_apart_or_refused(tmp_path: Path) -> None:
    save_file({"double_blocks.0.a": torch.zeros(1)}, tmp_path / "flux.safetensors")
    found = inspect_file(tmp_path / "flux.safetensors")
    assert (found.kind, found.what) == ("other", "this looks like a Flux model")
    (tmp_path / "a.safetensors").write_bytes(pickle.dumps({}))
    with pytest.raises(CheckpointError, match="pickle"):
        inspect_file(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="no such file"):
        inspect_file(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="folder"):
        inspect_file(tmp_path)
