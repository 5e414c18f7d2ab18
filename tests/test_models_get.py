"""`headcanon models get` against a hub on this machine: what arrives, is pinned, refused, and found elsewhere."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_hub import Hub, running_hub

from flows.cli.models import _NAMES
from lora_core.errors import CheckpointError, HubError, TaggerError
from lora_core.hub import find_model_files, find_tagger_files
from lora_core.hub.catalog import Known, catalog
from lora_core.hub.get import get, needed
from lora_core.judging.character import find_character_files

_TAGGER = "SmilingWolf/wd-v1-4-swinv2-tagger-v2"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with running_hub("none") as running:
        for module in ("constants", "hf_api.constants", "file_download.constants"):
            monkeypatch.setattr(f"huggingface_hub.{module}.ENDPOINT", running.address)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            running.address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        running.files[_TAGGER] = {"model.onnx": b"a tagger", "selected_tags.csv": b"tag_id,name", "README.md": b"#"}
        running.files["me/mix"] = {"mix.safetensors": b"weights", "README.md": b"#"}
        yield running


def test_a_tagger_arrives_with_its_commit_and_hashes_beside_it(hub: Hub, tmp_path: Path) -> None:
    said: list[str] = []
    got = get("wd-swinv2", tmp_path / "models", told=said.append)
    assert got.model == tmp_path / "models/wd-swinv2"
    assert sorted(path.name for path in got.folder.glob("*.*")) == [
        ".cache", "model.json", "model.onnx", "selected_tags.csv",
    ]  # fmt: skip
    assert json.loads((got.folder / "model.json").read_text()) == {
        "repository": _TAGGER,
        "commit": hub.commit,
        "sha256": {"model.onnx": sha256(b"a tagger"), "selected_tags.csv": sha256(b"tag_id,name")},
    }
    assert said == [f"{_TAGGER} at commit {hub.commit}"]
    assert sorted(find_tagger_files(str(got.model), "")) == ["model.onnx", "selected_tags.csv"]


def test_a_character_model_arrives_in_the_folder_that_a_recipe_names(hub: Hub, tmp_path: Path) -> None:
    known = catalog()["ccip"]
    hub.files[known.repository] = dict.fromkeys(known.files, b"a file") | {"other/model_feat.onnx": b"another"}
    got = get("ccip", tmp_path)
    files = find_character_files(got.model)
    assert {path.relative_to(tmp_path / "ccip").as_posix() for path in files.values()} == set(known.files)


def test_what_is_there_is_checked_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    get("wd-swinv2", tmp_path)
    asked = len(hub.asked)
    get("wd-swinv2", tmp_path)
    assert len(hub.asked) == asked
    (tmp_path / "wd-swinv2/model.onnx").write_bytes(b"another")
    with pytest.raises(HubError, match=r"model\.onnx: its SHA-256 is .* was pinned; it was changed or damaged"):
        get("wd-swinv2", tmp_path)


def test_a_file_that_is_gone_comes_again_from_the_pinned_commit_alone(hub: Hub, tmp_path: Path) -> None:
    get("wd-swinv2", tmp_path)
    (tmp_path / "wd-swinv2/selected_tags.csv").unlink()
    get("wd-swinv2", tmp_path)
    assert (tmp_path / "wd-swinv2/selected_tags.csv").read_bytes() == b"tag_id,name"
    (tmp_path / "wd-swinv2/selected_tags.csv").unlink()
    hub.files[_TAGGER]["selected_tags.csv"] = b"others' tags"
    with pytest.raises(HubError, match=r"came with SHA-256 .* is known; it was not kept"):
        get("wd-swinv2", tmp_path)
    assert not (tmp_path / "wd-swinv2/selected_tags.csv").exists()
    hub.commit = "d" * 40
    with pytest.raises(HubError, match="the hub does not answer"):
        get("wd-swinv2", tmp_path)


def test_bytes_that_are_not_those_of_the_catalog_are_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.files[catalog()["pony"].repository] = dict.fromkeys(catalog()["pony"].files, b"another")
    with pytest.raises(HubError, match=r"67ab2fd8ec43… is known; it was not kept"):
        get("pony", tmp_path)
    assert not list((tmp_path / "pony").glob("*.safetensors"))
    assert not (tmp_path / "pony/model.json").exists()


def test_a_repositorys_only_single_file_is_its_model(hub: Hub, tmp_path: Path) -> None:
    got = get("me/mix", tmp_path)
    assert (got.model, got.pinned.commit) == (tmp_path / "mix/mix.safetensors", hub.commit)
    assert get(f"me/mix:mix.safetensors@{hub.commit}", tmp_path / "again").model.read_bytes() == b"weights"
    hub.files["me/mix"]["other.safetensors"] = b"weights too"
    with pytest.raises(HubError, match=r"it has mix\.safetensors, other\.safetensors; name one as me/mix:FILE"):
        get("me/mix", tmp_path / "third")
    with pytest.raises(HubError, match=r"has no third\.safetensors; it has README\.md, mix\.safetensors"):
        get("me/mix:third.safetensors", tmp_path / "third")


def test_a_diffusers_folder_comes_with_what_is_needed_of_it(hub: Hub, workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}
    hub.files["me/folder"] = files | {"unet/diffusion_pytorch_model.bin": b"pickle", "safety_checker/config.json": b""}
    got = get("me/folder", tmp_path / "models")
    assert sorted(got.pinned.sha256) == sorted(find_model_files(str(folder), ""))
    assert sorted(find_model_files(str(got.model), "")) == sorted(got.pinned.sha256)


def test_a_repository_that_holds_no_model_is_one_line() -> None:
    with pytest.raises(HubError, match=r"me/x: neither a diffusers folder .* it has no \.safetensors file"):
        list(needed("me/x", ["README.md"]))


def test_an_unknown_name_is_one_line_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(
        HubError, match=r"illustrius: no model of that name .* known are illustrious, noobai, .*eva02-v3"
    ):
        get("illustrius", tmp_path)


def test_a_hub_that_does_not_answer_is_one_line(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"me/none: the hub does not answer \(.*--from FOLDER") as caught:
        get("me/none", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_is_found_in_a_web_uis_folder_by_its_hash_and_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Known("tiny", "Tiny", "me/tiny", {"tiny.safetensors": sha256(b"tiny weights")})
    monkeypatch.setattr("lora_core.hub.get.catalog", lambda: {"tiny": known})
    ui = tmp_path / "webui/models/Stable-diffusion"
    ui.mkdir(parents=True)
    (ui / "tiny.safetensors").write_bytes(b"another model of that name")
    (ui / "renamed.safetensors").write_bytes(b"tiny weights")
    said: list[str] = []
    got = get("tiny", tmp_path / "models", tmp_path / "webui", said.append)
    assert said == [f"found {ui / 'renamed.safetensors'}"]
    assert got.model.read_bytes() == b"tiny weights"
    assert got.model.stat().st_ino == (ui / "renamed.safetensors").stat().st_ino
    assert got.pinned.sha256 == dict(known.files)


def test_a_tagger_is_found_where_kohya_and_the_hubs_cache_keep_it(tmp_path: Path) -> None:
    places = (
        "kohya/wd14_tagger_model/SmilingWolf_wd-v1-4-swinv2-tagger-v2",
        "hub/models--SmilingWolf--wd-v1-4-swinv2-tagger-v2/snapshots/abc",
    )
    for place in places:
        folder = tmp_path / place
        folder.mkdir(parents=True)
        for name in ("model.onnx", "selected_tags.csv"):
            (folder / name).write_bytes(place.encode())
        top = tmp_path / place.partition("/")[0]
        got = get("wd-swinv2", tmp_path / f"models-{top.name}", top)
        assert (got.folder / "model.onnx").read_bytes() == place.encode()
        assert set(got.pinned.sha256.values()) == {sha256(place.encode())}


def test_what_another_folder_lacks_comes_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "webui").mkdir()
    said: list[str] = []
    got = get("wd-swinv2", tmp_path / "models", tmp_path / "webui", said.append)
    assert "holds no WD14 swin-v2" in said[0]
    assert got.pinned.commit == hub.commit
    with pytest.raises(HubError, match=r"--from .*nowhere: there is no such folder"):
        get("noobai", tmp_path / "models", tmp_path / "nowhere")


def test_a_repository_without_a_commit_says_which_command_gets_it() -> None:
    for error, find in ((CheckpointError, find_model_files), (TaggerError, find_tagger_files)):
        with pytest.raises(error, match=r"`headcanon models get owner/name`"):
            find("owner/name", "")
    with pytest.raises(TaggerError, match=r"`headcanon models get wd-swinv2 --into /a/models` gets it"):
        find_tagger_files("/a/models/wd-swinv2", "")


def test_the_names_that_help_tells_are_those_that_there_are() -> None:
    assert _NAMES.split(", ") == list(catalog())
