"""What the dry run tells of time and room, from paces that are written down here."""

from pathlib import Path

import pytest

from lora_core.pace import PROBE_STEPS, Work, expected_seconds, remember, timed
from lora_core.progress import Countdown, silent
from lora_core.store import Store

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
