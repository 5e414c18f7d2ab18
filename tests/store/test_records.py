"""Records and pointers: whatever a disk or a stranger makes of them, they are missing then, and nothing is ever run."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import DAMAGE, in_place_of

from lora_core.errors import DamagedError
from lora_core.store import Store
from lora_core.store.digests import digest_of, file_digest
from lora_core.store.files import file_fact
from lora_core.store.records import sealed

KEY, OTHER = digest_of(b"key"), digest_of(b"other key")
VALUE = {"score": 0.125, "name": "ö", "tags": [1, 2]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_record_is_missing(store: Store, damage: Callable[[Path], object]) -> None:
    store.set_record(KEY, VALUE)
    assert store.record(KEY, dict[str, object]) == VALUE
    damage(store.root / "records" / KEY[:2] / f"{KEY}.json")
    assert store.record(KEY, dict[str, object]) is None


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_pointer_is_missing_and_the_file_is_known_again(
    store: Store, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    base = tmp_path / "base 125.safetensors"
    base.write_bytes(b"weights")
    sha256 = store.refer(base)
    pointer = store.root / "elsewhere" / sha256[:2] / f"{sha256}.json"
    damage(pointer)
    if pointer.is_file() and json_or_none(pointer) == json.loads(sealed(sha256, file_fact(base))):
        return  # no figure of the pointer was touched
    assert not store.has(sha256)
    if not pointer.is_dir():
        assert store.refer(base) == sha256
        assert store.path(sha256) == base


def json_or_none(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


def test_of_every_single_flipped_bit_none_is_used(store: Store) -> None:
    store.set_record(KEY, VALUE)
    path = store.root / "records" / KEY[:2] / f"{KEY}.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            assert store.record(KEY, dict[str, object]) is None, (place, bit)


def test_a_record_under_another_key_is_missing(store: Store) -> None:
    store.set_record(OTHER, VALUE)
    moved = store.root / "records" / KEY[:2] / f"{KEY}.json"
    moved.parent.mkdir(parents=True, exist_ok=True)
    (store.root / "records" / OTHER[:2] / f"{OTHER}.json").rename(moved)
    assert store.record(KEY, dict[str, object]) is None


def test_a_record_that_its_reader_s_schema_does_not_fit_is_missing(store: Store) -> None:
    store.set_record(KEY, VALUE)
    assert store.record(KEY, list[str]) is None
    assert store.record(KEY, dict[str, float]) is None


def test_a_base_model_changed_in_place_with_size_and_time_kept_is_noticed(store: Store, tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    base.write_bytes(b"weights")
    sha256 = store.refer(base)
    before = base.stat()
    with base.open("r+b") as file:
        file.write(b"WEIGHTS")
    os.utime(base, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (base.stat().st_size, base.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert not store.has(sha256)
    assert store.refer(base) == digest_of(b"WEIGHTS")


def _point(store: Store, sha256: str, target: Path) -> None:
    """As somebody would who may write into the store and knows its format."""
    pointer = store.root / "elsewhere" / sha256[:2] / f"{sha256}.json"
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.write_bytes(sealed(sha256, file_fact(target)))


@pytest.mark.parametrize("read", [Store.path, Store.get_bytes])
def test_a_planted_pointer_to_another_file_gives_nothing_away(
    store: Store, tmp_path: Path, read: Callable[[Store, str], object]
) -> None:
    secret = tmp_path / "passwd"
    secret.write_bytes(b"secret")
    _point(store, KEY, secret)
    with pytest.raises(DamagedError, match="holds other bytes"):
        read(store, KEY)
    assert not store.has(KEY)
    assert secret.read_bytes() == b"secret"


@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "/dev/null", "/"])
def test_a_planted_pointer_to_what_is_no_file_is_missing(store: Store, tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    _point(store, KEY, tmp_path / target)
    assert not store.has(KEY)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_an_object_that_is_no_file_is_missing_and_made_again(store: Store, make: Callable[[Path], object]) -> None:
    sha256 = store.put_bytes(b"abc")
    in_place_of(store.path(sha256), make)
    assert not store.has(sha256)
    assert store.put_bytes(b"abc") == sha256
    assert file_digest(store.path(sha256)) == sha256
