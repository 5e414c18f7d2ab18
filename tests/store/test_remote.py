"""A store behind which lies a bucket: workers with disks of their own share what they compute."""

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, s3_server

from lora_core.errors import StoreError
from lora_core.refs import DatasetRef
from lora_core.store import Store, open_store
from lora_core.store.remote import Remote, lease

_SILENT_SECONDS = 4.0
"""Beats come four times as often; on a machine with other things to do they come late."""


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def url(server: None) -> str:
    """A place in the bucket that nobody has used."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def _worker(folder: Path, url: str) -> Store:
    """A store with a disk and a connection of its own."""
    return Store(folder, remote=Remote(url))


def test_what_one_worker_puts_in_another_takes_out(tmp_path: Path, url: str) -> None:
    one, two = _worker(tmp_path / "one", url), _worker(tmp_path / "two", url)
    source = tmp_path / "picture.png"
    source.write_bytes(b"picture")
    moved = tmp_path / "moved"
    moved.write_bytes(b"moved")
    digests = {one.put_bytes(b"bytes"): b"bytes", one.put_file(source): b"picture", one.take_file(moved): b"moved"}
    one.set_record("ab" * 32, {"made": "it"})
    for sha256, data in digests.items():
        assert two.has(sha256)
        assert two.get_bytes(sha256) == data
    assert two.record("ab" * 32, dict[str, str]) == {"made": "it"}


def test_a_ref_is_whole_when_its_pieces_are_elsewhere_and_not_when_one_is_gone(tmp_path: Path, url: str) -> None:
    one, two = _worker(tmp_path / "one", url), _worker(tmp_path / "two", url)
    piece = one.put_bytes(b"piece")
    ref = DatasetRef(sha256=one.put_json({"pieces": [piece]}))
    assert two.has_all(ref)
    Remote(url).remove(f"objects/{piece[:2]}/{piece}")
    assert not _worker(tmp_path / "three", url).has_all(ref)


def test_wrong_bytes_in_the_bucket_are_not_taken_and_make_room_for_right_ones(tmp_path: Path, url: str) -> None:
    sha256 = _worker(tmp_path / "one", url).put_bytes(b"right")
    Remote(url).write(f"objects/{sha256[:2]}/{sha256}", b"wrong")
    two = _worker(tmp_path / "two", url)
    with pytest.raises(StoreError, match="damaged there"):
        two.path(sha256)
    assert two.put_bytes(b"right") == sha256
    assert _worker(tmp_path / "three", url).get_bytes(sha256) == b"right"


def test_a_worker_whose_own_disk_was_emptied_finds_everything_again(tmp_path: Path, url: str) -> None:
    sha256 = _worker(tmp_path / "one", url).put_bytes(b"kept")
    assert _worker(tmp_path / "emptied", url).get_bytes(sha256) == b"kept"
    assert (tmp_path / "emptied" / "objects" / sha256[:2] / sha256).read_bytes() == b"kept"


def test_a_second_look_at_the_same_asks_the_bucket_no_more(tmp_path: Path, url: str) -> None:
    sha256 = _worker(tmp_path / "one", url).put_bytes(b"kept")
    two = _worker(tmp_path / "two", url)
    two.path(sha256)
    Remote(url).remove(f"objects/{sha256[:2]}/{sha256}")
    assert two.get_bytes(sha256) == b"kept"


def test_a_forgetful_store_forgets_what_is_elsewhere_too(tmp_path: Path, url: str) -> None:
    _worker(tmp_path / "one", url).set_record("cd" * 32, 1)
    assert Store(tmp_path / "two", forgetful=True, remote=Remote(url)).record("cd" * 32, int) is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b'{"made":"it"}', b"[" * 200_000], ids=lambda data: repr(data[:9])
)
def test_a_damaged_record_in_the_bucket_is_missing_and_made_again(tmp_path: Path, url: str, data: bytes) -> None:
    Remote(url).write(f"records/ab/{'ab' * 32}.json", data)
    two = _worker(tmp_path / "two", url)
    assert two.record("ab" * 32, dict[str, str]) is None
    assert not list((tmp_path / "two").rglob("*.json"))
    two.set_record("ab" * 32, {"made": "again"})
    assert _worker(tmp_path / "three", url).record("ab" * 32, dict[str, str]) == {"made": "again"}


def test_a_record_in_the_bucket_under_another_key_is_missing(tmp_path: Path, url: str) -> None:
    _worker(tmp_path / "one", url).set_record("ab" * 32, 1)
    Remote(url).write(f"records/cd/{'cd' * 32}.json", Remote(url).read(f"records/ab/{'ab' * 32}.json") or b"")
    assert _worker(tmp_path / "two", url).record("cd" * 32, int) is None


@pytest.mark.parametrize("claim", [b"[]", b"null", b"\xff", b"", b"[" * 200_000], ids=lambda claim: repr(claim[:9]))
def test_a_damaged_lease_is_taken_over_like_that_of_the_dead(url: str, claim: bytes) -> None:
    Remote(url).create("lease", claim)
    with lease(Remote(url), "lease", lambda seconds: None, silent=0.5) as waited:
        assert waited


def test_of_two_who_create_the_same_name_one_does(url: str) -> None:
    made: list[bool] = []
    both = threading.Barrier(2)

    def create() -> None:
        remote = Remote(url)
        both.wait()
        made.append(remote.create("name", b"x"))

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, True]


def test_who_comes_second_waits_until_the_first_gives_the_lease_back(url: str) -> None:
    order: list[str] = []
    holds, other_waits = threading.Event(), threading.Event()

    def first() -> None:
        with lease(Remote(url), "lease", lambda seconds: None) as waited:
            assert not waited
            holds.set()
            other_waits.wait(60)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    holds.wait(60)
    with lease(Remote(url), "lease", lambda seconds: other_waits.set()) as waited:
        order.append("second")
    thread.join()
    assert waited
    assert order == ["first", "second"]
    assert Remote(url).read("lease") is None


def test_the_lease_of_a_holder_that_died_is_taken_over_by_one_of_those_who_wait(url: str) -> None:
    Remote(url).create("lease", b'{"owner": "dead", "beat": 3}')
    inside: list[str] = []
    most = 0

    def wait(name: str) -> None:
        nonlocal most
        with lease(Remote(url), "lease", lambda seconds: None, silent=_SILENT_SECONDS):
            inside.append(name)
            most = max(most, len(inside))
            time.sleep(0.3)
            inside.remove(name)

    threads = [threading.Thread(target=wait, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 1


def test_a_holder_that_lives_keeps_its_lease_however_long_it_takes(url: str) -> None:
    class GaveUpError(Exception):
        pass

    def give_up(seconds: float) -> None:
        if seconds > 2 * _SILENT_SECONDS:
            raise GaveUpError

    with lease(Remote(url), "lease", lambda seconds: None, silent=_SILENT_SECONDS):  # noqa: SIM117
        with pytest.raises(GaveUpError), lease(Remote(url), "lease", give_up, silent=_SILENT_SECONDS):
            pytest.fail("two hold it")


def test_a_url_of_an_unknown_kind_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nonsense://"):
        open_store("nonsense://bucket/x")


def test_a_bucket_that_is_not_there_is_one_line(tmp_path: Path, server: None) -> None:
    with pytest.raises(StoreError, match="s3://nobody-has-this"):
        _worker(tmp_path, "s3://nobody-has-this/x").put_bytes(b"x")
