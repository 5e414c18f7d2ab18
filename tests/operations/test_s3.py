"""The whole run with its store in a bucket: a second worker, with a disk of its own, finds everything finished."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from s3_server import BUCKET, s3_server
from small_project import Project, new_project

from lora_core.store.digests import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def server() -> Iterator[Mapping[str, str]]:
    with s3_server() as environment:
        yield environment


def _worker(folder: Path, drawn: Path, home: Path, api: str) -> Project:
    project = new_project(folder, drawn, home, api)
    text = project.recipe.read_text()
    project.recipe.write_text(text.replace('store = "store"', f'store = "s3://{BUCKET}/studio"'))
    return project


def test_two_workers_with_disks_of_their_own_share_what_they_compute(
    tmp_path: Path, drawn: Path, server: Mapping[str, str], api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    one, two = (_worker(tmp_path / name, drawn, tmp_path / "prefect", api) for name in ("one", "two"))
    monkeypatch.setenv("HEADCANON_CACHE", str(tmp_path / "disk-one"))
    done = one.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("HEADCANON_CACHE", str(tmp_path / "disk-two"))
    again = two.run("run", "recipe.toml")
    assert again.returncode == 0, again.stderr
    assert "✓" not in again.stderr
    assert again.stderr.count(": cached") >= 12  # by the records in the bucket
    assert file_digest(one.lora) == file_digest(two.lora)
    shutil.rmtree(two.lora.parent)
    assert "cached" in two.run("run", "recipe.toml").stderr  # and now by what lies on its own disk
