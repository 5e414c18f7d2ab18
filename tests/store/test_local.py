import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_disk import SmallDisk

from lora_core.errors import DamagedError, StoreError
from lora_core.refs import CheckpointRef, DatasetRef
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of, file_digest
from lora_core.store.files import replacing, write_atomically
from lora_core.store.gc import verify

# echo -n abc | sha256sum
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_must_be_read_whole_to_be_known_is_counted_beforehand(store: Store, tmp_path: Path) -> None:
    large = tmp_path / "model.safetensors"
    large.write_bytes(b"abc")
    assert store.unread_bytes([large]) == 3
    store.refer(large)
    assert store.unread_bytes([large]) == 0
    large.write_bytes(b"abcd")
    assert store.unread_bytes([large]) == 4


def test_a_digest_is_read_once_with_a_bar_and_a_plan_does_not_read_the_file_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, told = tmp_path / "model.safetensors", list[tuple[int, int]]()
    large.write_bytes(bytes(9_000_000))
    digest = store.digest_of_file(large, lambda done, total, note="": told.append((done, total)))
    assert told == [(4, 9), (8, 9), (9, 9)]
    tree = store.put_tree({"model": large}, how="refer")
    assert len(told) == 3
    assert digest == file_digest(large)
    monkeypatch.setattr("lora_core.store.files._sound", set())
    monkeypatch.setattr("lora_core.store.objects.file_digest", lambda path: pytest.fail(f"reads {path}"))
    assert store.tree(tree, checked=False) == {"model": large}


def test_bytes_are_found_under_their_sha256(store: Store) -> None:
    assert store.put_bytes(b"abc") == ABC
    assert store.get_bytes(ABC) == b"abc"


def test_the_same_value_has_the_same_digest_whatever_the_order_of_its_keys(store: Store) -> None:
    assert store.put_json({"b": 1, "a": "ö"}) == store.put_json({"a": "ö", "b": 1})
    assert canonical_json({"b": 1, "a": "ö"}) == '{"a":"ö","b":1}'.encode()


@pytest.mark.parametrize("read", [Store.get_bytes, Store.path])
def test_a_flipped_byte_is_noticed_when_it_is_read_and_what_it_was_in_is_a_miss_from_then_on(
    store: Store, read: Callable[[Store, str], object]
) -> None:
    _flip(store.root / "objects/ba" / store.put_bytes(b"abc"))
    with pytest.raises(DamagedError, match="damaged"):
        read(store, ABC)
    assert not store.has(ABC)
    assert store.path(store.put_bytes(b"abc")).read_bytes() == b"abc"


def test_a_tree_with_a_flipped_byte_is_refused_and_one_whose_list_is_damaged_is_not_whole(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    ref = CheckpointRef(sha256=store.put_tree({"file": tmp_path / "file"}))
    _flip(store.root / "objects/ba" / ABC)
    with pytest.raises(DamagedError):
        store.tree(ref.sha256)
    assert not store.has_all(ref)
    store.put_file(tmp_path / "file")
    assert store.has_all(ref)
    _flip(store.root / "objects" / ref.sha256[:2] / ref.sha256)
    assert not store.has_all(ref)


def _flip(path: Path) -> None:
    """Turn one bit, as a bad disk does: nothing but the bytes tells."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def test_verify_names_a_flipped_byte_and_repair_makes_it_a_miss(store: Store) -> None:
    path = store.path(store.put_bytes(b"abc"))
    path.write_bytes(b"abd")
    assert [problem.path for problem in verify(store)] == [str(path)]
    assert len(list(verify(store, repair=True))) == 1
    assert not store.has(ABC)
    assert list(verify(store)) == []


def test_nothing_is_left_of_a_write_that_fails(store: Store, tmp_path: Path) -> None:
    def half(path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_renamed_when_it_is_complete(tmp_path: Path) -> None:
    with replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "file").write_bytes(b"x")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "file").read_bytes() == b"x"


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="disk is full"), replacing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_up_under_safetensors_own_writer_is_the_same_clear_line(small_disk: SmallDisk) -> None:
    disk = small_disk(256)
    with pytest.raises(StoreError, match="disk is full"), replacing(disk / "state.safetensors") as temporary:
        save_file({"matrix": torch.zeros(1024, 1024)}, temporary)
    assert list(disk.iterdir()) == []


def test_a_large_file_is_known_without_a_copy_until_it_changes(store: Store, tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    base.write_bytes(b"weights")
    sha256 = store.refer(base)
    assert sha256 == file_digest(base)
    assert store.path(sha256) == base
    base.write_bytes(b"other weights")
    assert not store.has(sha256)
    (problem,) = verify(store)
    assert problem.what == f"{base} was moved or changed since it was used"


def test_a_ref_is_whole_only_while_everything_it_names_is_there(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"x")
    ref = CheckpointRef(sha256=store.put_tree({"model.bin": file}))
    assert store.has_all(ref)
    store.path(file_digest(file)).unlink()
    assert not store.has_all(ref)
    assert not store.has_all(DatasetRef(sha256=digest_of(b"never stored")))


def test_a_tree_gives_its_files_by_name(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    tree = store.tree(store.put_tree({"sub/b.txt": file}))
    assert {name: path.read_bytes() for name, path in tree.items()} == {"sub/b.txt": b"abc"}


def test_a_half_written_record_is_no_record(store: Store) -> None:
    store.set_record(ABC, {"x": 1})
    assert store.record(ABC, dict[str, int]) == {"x": 1}
    (store.root / "records" / ABC[:2] / f"{ABC}.json").write_text('{"x"')
    assert store.record(ABC, dict[str, int]) is None


def test_a_forgetful_store_finds_no_record_but_writes_them(store: Store) -> None:
    forgetful = Store(store.root, forgetful=True)
    forgetful.set_record(ABC, 1)
    assert forgetful.record(ABC, int) is None
    assert store.record(ABC, int) == 1


def test_write_atomically_makes_the_folders_it_needs(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b.json", json.dumps([1]).encode())
    assert (tmp_path / "a" / "b.json").read_text() == "[1]"
