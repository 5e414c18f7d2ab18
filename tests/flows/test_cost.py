"""What the dry run tells of time and room, from paces that are written down here."""

from pathlib import Path

import pytest

from lora_core.pace import PROBE_STEPS, Work, expected_seconds, remember, timed
from lora_core.progress import Countdown, silent
from lora_core.store import Store
from tasks import time_left
from tasks.time_left import RunClock

WORK = Work(("train", "sd1"), amount=40.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_work_of_a_kind_that_was_never_done_here_has_no_time(store: Store) -> None:
    assert expected_seconds(store, WORK) is None


def test_work_takes_as_long_for_each_megapixel_as_the_last_of_its_kind_did(store: Store) -> None:
    remember(store, WORK._replace(amount=10.0), 5.0)
    assert expected_seconds(store, WORK) == pytest.approx(20.0)
    assert expected_seconds(store, WORK._replace(kind=("train", "sdxl"))) is None


def test_a_listener_learns_the_pace_from_ten_pieces_after_the_first_and_again_at_the_end(store: Store) -> None:
    seconds = iter([100.0, *(200.0 + piece for piece in range(1, PROBE_STEPS + 1)), 1000.0])
    listen = timed(silent, store, WORK, clock=lambda: next(seconds))
    for done in range(1, PROBE_STEPS + 2):
        listen(done, 40)
    # Ten of forty pieces, ten of forty megapixels, took 110 s.
    assert expected_seconds(store, WORK) == pytest.approx(440.0)
    listen(40, 40)
    assert expected_seconds(store, WORK) == pytest.approx(900.0 / 39 * 40)


def test_a_resumed_training_measures_only_what_it_does_itself(store: Store) -> None:
    seconds = iter([0.0, *(float(piece) for piece in range(1, PROBE_STEPS + 1))])
    listen = timed(silent, store, WORK, clock=lambda: next(seconds))
    for done in range(30, 30 + PROBE_STEPS + 1):
        listen(done, 40)
    assert expected_seconds(store, WORK) == pytest.approx(40.0)


def test_a_countdown_goes_by_the_pieces_since_the_first_report_of_a_resumed_training() -> None:
    seconds = iter([0.0, 100.0, 110.0])
    countdown = Countdown(lambda: next(seconds))
    countdown.tell(30, 40)
    countdown.tell(35, 40)
    # Five pieces took 10 s; five are left.
    assert countdown.seconds_left == pytest.approx(10.0)


def test_a_run_takes_what_is_at_work_at_its_own_pace_and_the_rest_as_it_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to_do: dict[str, float | None] = {"train style": 100.0, "train character": 300.0, "sample": None}
    now, clock = [0.0], RunClock(lambda done: {node: to_do[node] for node in to_do if node not in done})
    first, second = (Countdown(lambda: now[0]) for _ in range(2))
    assert clock.text == ""
    monkeypatch.setattr(time_left, "_node", lambda: "train style")
    with clock.timing(first):
        clock.look()
        first.tell(0, 10)
        assert clock.seconds_left is None, "nothing is known of its own pace yet"
        now[0] = 10.0
        first.tell(5, 10)  # five pieces took 10 s; five are left, and the character's 300 s
        assert clock.seconds_left == pytest.approx(310.0)
        assert clock.text == "at least 5 min 10 s to the run's end", "how long samples take was never measured"
    to_do["sample"] = 40.0
    monkeypatch.setattr(time_left, "_node", lambda: "train character")
    with clock.timing(second):
        clock.look()
        second.tell(0, 20)
        now[0] = 20.0
        second.tell(10, 20)  # half of it took 10 s: whatever was expected of it
        assert clock.text == "about 50 s to the run's end"
    assert clock.seconds_left is None


def test_what_is_done_again_in_every_round_counts_again_after_it_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, countdown = RunClock(lambda done: {"train character": 60.0, "sample": 2.0}), Countdown()
    monkeypatch.setattr(Countdown, "seconds_left", 1.0)
    monkeypatch.setattr(Countdown, "has_pace", True)
    for node, left in (("train character", 3.0), ("sample", 61.0)):
        monkeypatch.setattr(time_left, "_node", lambda at=node: at)
        with clock.timing(countdown):
            clock.look()
            assert clock.seconds_left == pytest.approx(left)
