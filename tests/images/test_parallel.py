"""Work on many pictures at once."""

import threading

import pytest

from lora_core.images import parallel
from lora_core.images.parallel import in_parallel
from lora_core.images.pipeline import thumbnail


def test_results_come_in_the_order_of_the_items():
    turn = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            turn.wait(5)
        turn.set()
        return number

    assert list(in_parallel(work, range(20))) == list(range(20))
    assert list(in_parallel(work, [])) == []


def test_a_failure_is_raised_and_what_has_not_begun_never_does():
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("no")
        threading.Event().wait(0.02)

    with pytest.raises(ValueError, match="no"):
        list(in_parallel(work, range(200)))
    assert len(begun) < 200


def test_large_pictures_are_not_all_in_memory_at_once(monkeypatch):
    monkeypatch.setattr(parallel, "_cores", lambda: 16)
    lock, at_once, most = threading.Lock(), [0], [0]

    def work(pixels: int) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.005)
        with lock:
            at_once[0] -= 1

    list(in_parallel(work, [80_000_000] * 12, lambda pixels: pixels))
    assert most[0] <= 3
    meeting = threading.Barrier(4, timeout=120)  # which only four at once can pass
    list(in_parallel(lambda _: meeting.wait(), [2_000_000] * 60, lambda pixels: pixels))


def test_a_thumbnail_is_made_once_and_of_a_damaged_picture_there_is_none(store, straight, as_png, monkeypatch):
    picture, damaged = store.put_bytes(as_png(straight)), store.put_bytes(b"nothing")
    first = thumbnail(store, picture)
    assert first is not None
    assert (first.mode, first.size) == ("RGB", (160, 90))
    assert first.getpixel((0, 0)) == (255, 255, 255)
    assert thumbnail(store, damaged) is None
    monkeypatch.setattr("lora_core.images.pipeline.decode", lambda *_: pytest.fail("decoded again"))
    again = thumbnail(store, picture)
    assert again is not None
    assert again.tobytes() == first.tobytes()
