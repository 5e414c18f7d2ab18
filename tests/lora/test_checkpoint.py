"""The difference of two checkpoints as a LoRA."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_core.errors import CheckpointError, LoraError
from lora_core.hub import find_model_files
from lora_core.lora.algebra import Size
from lora_core.lora.attach import attach
from lora_core.lora.checkpoint import Extraction, extract
from lora_core.lora.combine import Term
from lora_core.lora.file import read_lora
from lora_core.lora.merge import merge_file
from lora_core.lora.module import LoraModule
from lora_core.progress import silent
from lora_core.store.digests import file_digest


def files(path: Path) -> dict[str, Path]:
    return find_model_files(str(path), "")


def change(module: LoraModule) -> torch.Tensor:
    """What a module adds to a weight: alpha / rank · up · down."""
    return module.scale * module.up.flatten(1) @ module.down.flatten(1)


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_merged_lora_comes_out_of_the_merged_model_again(
    workshop: Any, made: Any, architecture: Any, tmp_path: Path
) -> None:
    single, folder = made[architecture].single, workshop.folder(tmp_path / "folder", architecture)
    merged, found = tmp_path / "merged.safetensors", tmp_path / "found.safetensors"
    merge_file(files(single), [Term(made[architecture].lora)], merged, silent)
    for base in (single, folder):  # the layouts may differ
        out = tmp_path / f"{base.stem}-lora.safetensors"
        result = extract(files(base), files(merged), out, Extraction(Size(rank=4)), "fp32", silent)
        assert (result.ranks, result.energy) == ((4,), pytest.approx(1.0, abs=1e-6))
        before, after = read_lora(made[architecture].lora).modules, read_lora(out).modules
        assert before.keys() == after.keys()
        for name, module in before.items():
            torch.testing.assert_close(change(after[name]), change(module), rtol=1e-3, atol=1e-5)
        model = workshop.load(single)
        attach(model, out, 1.0)
        torch.testing.assert_close(workshop.draw(model), made[architecture].drawn, rtol=1e-3, atol=1e-3)
    assert not found.exists()


def test_the_header_says_what_it_was_made_from(workshop: Any, made: Any, tmp_path: Path) -> None:
    merged, out = tmp_path / "merged.safetensors", tmp_path / "out.safetensors"
    merge_file(files(made["sd1"].single), [Term(made["sd1"].lora)], merged, silent)
    extract(files(made["sd1"].single), files(merged), out, Extraction(Size(rank=3)), "auto", silent)
    with safe_open(out, framework="pt") as file:
        found = file.metadata()
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118
    assert (found["ss_base_model_version"], found["ss_v2"]) == ("sd_v1", "False")
    assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("3", "3.0")
    assert found["ss_sd_model_name"] == "sd1.safetensors"
    assert found["ss_new_sd_model_hash"] == file_digest(made["sd1"].single)
    made_from = json.loads(found["headcanon.made"])
    assert made_from["base_sha256"] == {"": file_digest(made["sd1"].single)}
    assert made_from["tuned_sha256"] == {"": file_digest(merged)}


def test_large_kernels_are_taken_along_only_when_asked_for(workshop: Any, made: Any, tmp_path: Path) -> None:
    tensors = load_file(made["sd1"].single)
    key, name = "model.diffusion_model.middle_block.0.in_layers.2.weight", "lora_unet_mid_block_resnets_0_conv1"
    generator = torch.Generator().manual_seed(3)
    change = torch.randn(64, 3, generator=generator) @ torch.randn(3, 64 * 9, generator=generator)
    tensors[key] = tensors[key] + change.reshape(64, 64, 3, 3)
    tuned = tmp_path / "tuned.safetensors"
    save_file(tensors, tuned)
    with pytest.raises(LoraError, match="nothing to extract"):
        extract(
            files(made["sd1"].single), files(tuned), tmp_path / "none.safetensors", Extraction(Size(rank=4)), "auto",
            silent,
        )  # fmt: skip
    assert not (tmp_path / "none.safetensors").exists()
    out = tmp_path / "out.safetensors"
    result = extract(
        files(made["sd1"].single), files(tuned), out, Extraction(Size(rank=4), conv_rank=3), "fp32", silent
    )
    assert (result.modules, result.ranks) == (1, (3,))
    module = read_lora(out).modules[name]
    found = module.scale * module.up.flatten(1) @ module.down.flatten(1)
    torch.testing.assert_close(found.reshape(change.shape), change, rtol=1e-3, atol=1e-3)


def test_models_that_do_not_belong_together_are_refused(workshop: Any, made: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(CheckpointError, match=r"sd1\.safetensors is sd1, sdxl\.safetensors is sdxl"):
        extract(files(made["sd1"].single), files(made["sdxl"].single), out, Extraction(Size(rank=4)), "auto", silent)
    with pytest.raises(LoraError, match="nothing to extract"):
        extract(files(made["sd1"].single), files(made["sd1"].single), out, Extraction(Size(rank=4)), "auto", silent)
    broken = load_file(made["sd1"].single)
    key = "model.diffusion_model.middle_block.1.proj_in.weight"
    broken[key] = broken[key] * torch.nan
    save_file(broken, tmp_path / "nan.safetensors")
    with pytest.raises(CheckpointError, match=rf"nan\.safetensors: {key} holds numbers that are not finite"):
        extract(
            files(made["sd1"].single), files(tmp_path / "nan.safetensors"), out, Extraction(Size(rank=4)), "auto",
            silent,
        )  # fmt: skip
    assert not out.exists()
