"""What a file is."""

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lora_core.errors import CheckpointError
from lora_core.lora.algebra import Size
from lora_core.lora.combine import Term, add
from lora_core.lora.inspect import Tag, inspect_file
from lora_core.lora.merge import merge_file
from lora_core.progress import silent
from lora_core.store.digests import file_digest


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
    assert found.parameters == {"U-Net": 4 * 8 * 2, "text encoder": 2 * 8 * 2}
    assert found.tags == (Tag(name="1girl", count=5), Tag(name="smile", count=1))
    assert "rank          2, 4" in str(found)
    assert "2,570 M" in str(found.model_copy(update={"parameters": {"U-Net": 2_567_463_684}}))


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
    with pytest.raises(CheckpointError, match="no diffusers folder"):
        inspect_file(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        ({"lora_down.weight": (4, 8), "lora_up.weight": (8, 4), "dora_scale": (1, 8)}, "a DoRA"),
        ({"hada_w1_a": (8, 4), "hada_w1_b": (4, 8), "hada_w2_a": (8, 4), "hada_w2_b": (4, 8)}, "a LoHa"),
        ({"lokr_w1": (2, 2), "lokr_w2_a": (4, 4), "lokr_w2_b": (4, 4)}, "a LoKr"),
    ],
)
def test_other_kinds_of_lora_tell_their_rank_and_parts(
    tensors: dict[str, tuple[int, ...]], what: str, tmp_path: Path
) -> None:
    names = ("lora_unet_input_blocks_4_1_proj_in", "lora_te2_text_model_encoder_layers_0_mlp_fc1")
    save_file({f"{name}.{key}": torch.ones(shape) for name in names for key, shape in tensors.items()}, tmp_path / "a")
    found = inspect_file(tmp_path / "a")
    assert (found.kind, found.what, found.architecture) == ("lora", what, "sdxl")
    assert (found.modules, found.ranks, found.alphas) == (2, (4,), (4.0,))
    numbers = sum(math.prod(shape) for shape in tensors.values())
    assert found.parameters == {"U-Net": numbers, "text encoder 2": numbers}
    assert found.parts == {"U-Net": 1, "text encoder 2": 1}
    assert "rank          4" in str(found)


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_a_base_tells_its_models_and_how_large_they_are(
    workshop: Any, made: Any, architecture: str, tmp_path: Path
) -> None:
    models = workshop.models(architecture)
    titles = {"unet": "U-Net", "text_encoder": "text encoder", "text_encoder_2": "text encoder 2", "vae": "VAE"}
    expected = {
        title: sum(tensor.numel() for tensor in models[part].state_dict().values())
        for part, title in titles.items()
        if part in models
    }
    folder = inspect_file(workshop.folder(tmp_path / "base", architecture))
    assert (folder.kind, folder.what) == ("checkpoint", "a base model as a diffusers folder")
    assert folder.architecture == architecture
    single = inspect_file(made[architecture].single)
    assert {key: single.parameters[key] for key in ("U-Net", "VAE")} == {key: expected[key] for key in ("U-Net", "VAE")}
    assert set(single.parameters) == {*expected, "averaged copy (EMA)"}
    assert folder.parameters.keys() == expected.keys()
    assert folder.parameters["U-Net"] == expected["U-Net"]
    assert f"U-Net {expected['U-Net'] / 1e6:.3g} M" in str(folder)


def test_what_our_tools_made_tells_what_it_was_made_from(made: Any, tmp_path: Path) -> None:
    files = made["sd1"]
    first, other = (file_digest(path)[:12] for path in (files.lora, files.other_rank))
    terms = Term(files.lora, 0.5), Term(files.other_rank)
    add(terms, tmp_path / "sum.safetensors", Size(), "auto", silent)
    assert inspect_file(tmp_path / "sum.safetensors").made == (f"by add from 0.5 × {first} and 1 × {other}",)
    merge_file({"m": files.single}, terms, tmp_path / "merged.safetensors", silent)
    merged = inspect_file(tmp_path / "merged.safetensors")
    assert merged.made == (f"by merging 0.5 × {first} into it", f"by merging 1 × {other} into it")
    assert merged.what == "a base model in the original layout, merged"
    assert f"made          by merging 1 × {other} into it" in str(merged)


def test_a_note_that_is_rubbish_does_not_matter(tmp_path: Path) -> None:
    for number, text in enumerate(("{", "[1]", '{"how": 1, "sources": 2}', '{"a": {"b": "x"}}', "7")):
        path = tmp_path / f"{number}.safetensors"
        note = {"headcanon.made": text, "headcanon.merged": text}
        save_file({"lora_unet_a.alpha": torch.ones(())}, path, note)
        assert inspect_file(path).made == ()
