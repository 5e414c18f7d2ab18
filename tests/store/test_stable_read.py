"""Files that somebody writes to while they are read: one version of their bytes, or a refusal."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_core.errors import StoreError
from lora_core.store import Store, files
from lora_core.store.digests import digest_of
from lora_core.store.files import read_steadily

OLD, NEW = b"1" * 4096, b"2" * 4096


def _write_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(NEW)


def _replace(path: Path) -> None:
    path.with_suffix(".new").write_bytes(NEW)
    path.with_suffix(".new").replace(path)


def _replace_by_one_as_old(path: Path) -> None:
    """As `cp --preserve` and `rsync` do."""
    before = path.stat()
    _replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "screenshot.png"
    path.write_bytes(OLD)
    os.utime(path, (1, 1))
    return path


def _halves(path: Path, between: Callable[[], object]) -> bytes:
    with path.open("rb", buffering=0) as file:
        first = file.read(len(OLD) // 2)
        between()
        return first + file.read()


@pytest.mark.parametrize("change", [_write_over, _replace, _replace_by_one_as_old])
def test_a_file_that_changes_between_its_halves_is_read_again(picture: Path, change: Callable[[Path], None]) -> None:
    changes = iter([lambda: change(picture)])
    found, fact = read_steadily(picture, lambda: _halves(picture, next(changes, lambda: None)))
    assert found == NEW
    assert fact == files.file_fact(picture)


def test_a_file_that_was_just_written_is_left_to_rest_before_it_is_trusted(picture: Path) -> None:
    _write_over(picture)
    began = time.monotonic()
    assert read_steadily(picture, picture.read_bytes)[0] == NEW
    assert time.monotonic() - began >= files._REST_SECONDS


def test_a_file_that_never_rests_is_refused_with_its_name(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.2)

    def grow() -> None:
        with picture.open("ab") as file:
            file.write(b"3")

    with pytest.raises(StoreError, match=r"screenshot\.png: is written to while it is read"):
        read_steadily(picture, lambda: _halves(picture, grow))


@pytest.mark.parametrize("take", [Store.put_file, Store.digest_of_file, Store.refer])
def test_the_store_knows_a_replaced_file_by_its_new_bytes(
    tmp_path: Path, picture: Path, take: Callable[[Store, Path], str]
) -> None:
    store = Store(tmp_path / "store")
    assert take(store, picture) == digest_of(OLD)
    _replace_by_one_as_old(picture)
    assert take(store, picture) == digest_of(NEW)
