"""Finding models, and refusing what must not be opened, by content."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lora_core.errors import CheckpointError, TaggerError
from lora_core.hub import find_model_files, find_tagger_files
from lora_core.hub.formats import read_header

_COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache is an empty folder and the network is off."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_a_pickle_is_refused_by_content_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"state_dict": {}}))
    with pytest.raises(CheckpointError, match=r"is a pickle.*\.safetensors"):
        find_model_files(str(path), "")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    with pytest.raises(CheckpointError, match="is a pickle"):
        find_model_files(str(path), "")
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="is a pickle"):
        find_model_files(str(path), "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs"),
        (b"", "not a whole safetensors file"),
        (b"\xff" * 8 + b"{}", "not a whole safetensors file"),
        (b"\x02\0\0\0\0\0\0\0[]", "header is wrong"),
        (b"\x04\0\0\0\0\0\0\0abcd", "not JSON"),
    ],
)
def test_what_is_no_safetensors_is_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        find_model_files(str(path), "")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0x0180, 0x0280, 0x3C, 0x13C])
def test_a_header_whose_length_looks_like_another_formats_mark_is_read(tmp_path: Path, length: int) -> None:
    text = b'{"__metadata__":{}}'.ljust(length)
    path = tmp_path / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + text)
    assert read_header(path, "model").tensors == {}


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cut off"):
        read_header(path, "model")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, "has 8 bytes"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, "has 8 bytes"),
        ({"dtype": "Q4", "shape": [2], "data_offsets": [0, 8]}, "dtype Q4"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, "leave a gap"),
        ({"dtype": "F32", "shape": [2]}, "data_offsets"),
        ("F32", "header is wrong"),
    ],
)
def test_a_lying_header_is_refused(tmp_path: Path, entry: Any, message: str) -> None:
    text = json.dumps({"a": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 8)
    with pytest.raises(CheckpointError, match=message):
        read_header(path, "model")


def test_only_the_files_that_are_needed_are_taken_from_a_folder(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker/model.safetensors").write_bytes(b"")
    (folder / "unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"")
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(pickle.dumps({}))
    assert sorted(find_model_files(str(folder), "")) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_a_folder_of_pickles_is_refused_as_such(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    (folder / "vae/diffusion_pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(CheckpointError, match="is a pickle"):
        find_model_files(str(folder), "")


def test_a_folder_with_one_single_file_means_that_file(workshop: Any, tmp_path: Path) -> None:
    workshop.single_file(tmp_path / "model.safetensors", "sd1")
    assert find_model_files(str(tmp_path), "") == {"model.safetensors": tmp_path / "model.safetensors"}
    workshop.single_file(tmp_path / "other.safetensors", "sd1")
    with pytest.raises(CheckpointError, match="name one of them"):
        find_model_files(str(tmp_path), "")


def test_a_repository_needs_a_commit(offline: Path) -> None:
    with pytest.raises(CheckpointError, match=r"base\.revision is not set"):
        find_model_files("owner/name", "")
    with pytest.raises(CheckpointError, match=r"base\.revision is 'main'"):
        find_model_files("owner/name", "main")
    with pytest.raises(TaggerError, match=r"tagger\.revision is not set"):
        find_tagger_files("owner/name", "")
    with pytest.raises(CheckpointError, match="no hub repository"):
        find_model_files("nowhere/at/all", "")


def test_with_the_network_off_a_repository_that_is_not_cached_is_one_line(offline: Path) -> None:
    with pytest.raises(CheckpointError, match="owner/name@0123456789ab: cannot be downloaded") as caught:
        find_model_files("owner/name", _COMMIT)
    assert "\n" not in str(caught.value)


def test_with_the_network_off_a_cached_repository_works(workshop: Any, offline: Path) -> None:
    snapshot = offline / "models--owner--name/snapshots" / _COMMIT
    snapshot.parent.mkdir(parents=True)
    workshop.folder(snapshot, "sd1")
    files = find_model_files("owner/name", _COMMIT)
    assert files["unet/config.json"] == snapshot / "unet/config.json"


def test_a_tagger_is_a_model_and_its_labels(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(TaggerError, match=r"selected_tags\.csv is missing"):
        find_tagger_files(str(tmp_path), "")
    (tmp_path / "selected_tags.csv").write_text("")
    assert find_tagger_files(str(tmp_path), "") == {
        "model.onnx": tmp_path / "model.onnx",
        "selected_tags.csv": tmp_path / "selected_tags.csv",
    }
