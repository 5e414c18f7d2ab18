"""Which family a base is of: by its name, its metadata, its hash, and what is said where none of them tells."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.bases import presets
from lora_core.bases.lineage import Lineage, choices, find_lineage
from lora_core.hub import find_model_files


@pytest.fixture(scope="module")
def files(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A single file of each architecture, and an SDXL one with NovelAI's marks of v-prediction."""
    folder = tmp_path_factory.mktemp("bases")
    made = {name: workshop.single_file(folder / f"{name}.safetensors", name) for name in ("sd1", "sd2", "sdxl")}
    tensors = load_file(made["sdxl"]) | {"v_pred": torch.zeros(()), "ztsnr": torch.zeros(())}
    save_file(tensors, folder / "sdxl-v.safetensors")
    return made | {"sdxl-v": folder / "sdxl-v.safetensors"}


def lineage_of(path: Path, name: str = "", digest: str = "0" * 64) -> Lineage:
    return find_lineage(find_model_files(str(path), ""), name or str(path), lambda _: digest)


@pytest.mark.parametrize(
    ("kind", "name", "preset"),
    [
        ("sd1", "v1-5-pruned-emaonly.safetensors", "sd15"),
        ("sd1", "anything-v3-fp16-pruned.safetensors", "sd15-nai"),
        ("sd1", "Counterfeit-V3.0_fp16.safetensors", "sd15-nai"),
        ("sdxl", "illustriousXL_v01.safetensors", "illustrious"),
        ("sdxl", "waiNSFWIllustrious_v140.safetensors", "illustrious"),
        ("sdxl", "noobaiXLNAIXL_epsilonPred11Version.safetensors", "noobai"),
        ("sdxl-v", "noobaiXLNAIXL_vPred10Version.safetensors", "noobai-v"),
        ("sdxl", "ponyDiffusionV6XL_v6StartWithThisOne.safetensors", "pony"),
        ("sdxl", "animagine-xl-4.0-opt.safetensors", "animagine"),
        ("sdxl", "sd_xl_base_1.0.safetensors", "sdxl"),
    ],
)
def test_a_files_name_tells_its_family(
    files: dict[str, Path], tmp_path: Path, kind: str, name: str, preset: str
) -> None:
    shutil.copyfile(files[kind], tmp_path / name)
    found = lineage_of(tmp_path / name)
    assert (found.preset.name, found.assumed) == (preset, False)
    assert found.reason.startswith("its name holds '")


def test_a_name_of_another_architecture_means_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    """An SD1 model that is called after Pony is no SDXL model."""
    shutil.copyfile(files["sd1"], tmp_path / "pony.safetensors")
    assert lineage_of(tmp_path / "pony.safetensors").preset.name == "sd15"


def test_a_merges_metadata_tells_its_family(workshop: Any, tmp_path: Path) -> None:
    told = {"sd_merge_models": '{"a": {"name": "illustriousXL_v01"}}', "modelspec.description": "not like pony"}
    path = workshop.single_file(tmp_path / "mine.safetensors", "sdxl", metadata=told)
    found = lineage_of(path)
    assert (found.preset.name, found.reason) == ("illustrious", "its metadata (sd_merge_models) holds 'illustrious'")


def test_a_known_hash_tells_its_family(files: dict[str, Path]) -> None:
    pony = presets.base_preset("pony").hashes[0]
    found = lineage_of(files["sdxl"], digest=pony)
    assert (found.preset.name, found.reason) == ("pony", "its SHA-256 begins with 67ab2fd8ec, which is known")


@pytest.mark.parametrize(
    ("kind", "preset"), [("sd1", "sd15"), ("sd2", "sd2"), ("sdxl", "sdxl"), ("sdxl-v", "noobai-v")]
)
def test_a_base_that_says_nothing_gets_the_plainest_preset_and_that_is_said(
    files: dict[str, Path], tmp_path: Path, kind: str, preset: str
) -> None:
    shutil.copyfile(files[kind], tmp_path / "mine.safetensors")
    found = lineage_of(tmp_path / "mine.safetensors")
    assert (found.preset.name, found.assumed) == (preset, True)
    assert preset in {each.name for each in choices(found.source)}


def test_a_folder_is_told_by_its_name_or_by_where_it_was_saved_from(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "animagine-xl-4.0", "sdxl")
    assert lineage_of(folder).preset.name == "animagine"
    plain = workshop.folder(tmp_path / "mine", "sdxl")
    assert lineage_of(plain).assumed
    (plain / "model_index.json").write_text('{"_name_or_path": "Laxhar/noobai-XL-1.1"}')
    assert lineage_of(plain).preset.name == "noobai"
