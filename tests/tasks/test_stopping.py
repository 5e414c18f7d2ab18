"""Work that is asked to end: who is heard, when, and what a second signal does."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from lora_core.progress import Stopped
from tasks import stopping
from tasks.runtime import progress


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is asked once in its life; a test's is asked anew."""
    monkeypatch.setattr(stopping, "_asked", stopping._Asked())


@pytest.fixture
def handlers() -> Iterator[list[object]]:
    """Those of the process before the test; they are put back after it."""
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background job it is ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield [signal.getsignal(number) for number in stopping.SIGNALS]
    for number, handler in zip(stopping.SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_during_work_ends_it_at_its_next_report(number: signal.Signals) -> None:
    with pytest.raises(Stopped, match=f"count: stopped by {number.name}"):  # noqa: PT012, SIM117
        with stopping.heeding_signals(), progress("count", "thing") as listen:
            listen(1, 3)
            os.kill(os.getpid(), number)
            listen(2, 3)
    assert stopping.signal_heard() == number


@pytest.mark.usefixtures("handlers")
def test_a_signal_when_nothing_reports_ends_at_once() -> None:
    with pytest.raises(Stopped), stopping.heeding_signals():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(30)


def test_handlers_are_put_back_when_nobody_asked(handlers: list[object]) -> None:
    with stopping.heeding_signals():
        assert signal.getsignal(signal.SIGTERM) is stopping._heed
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == handlers


@pytest.mark.usefixtures("handlers")
def test_what_is_ignored_stays_ignored_as_nohup_wants_it() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping.heeding_signals():
        os.kill(os.getpid(), signal.SIGHUP)


def test_the_second_signal_ends_the_process_with_the_first_ones_status() -> None:
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tasks import stopping\n"
        "with stopping.heeding_signals(), stopping.working():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('not here')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "still here\n")


def test_what_was_saved_is_told() -> None:
    stopped = Stopped()
    stopped.kept = "step 3 of 12"
    with pytest.raises(Stopped), progress("train", "step"):
        raise stopped
    assert stopping.kept() == " The training's state is saved (step 3 of 12)."


def test_a_step_in_the_background_ends_when_another_fails_and_a_later_run_is_not_asked() -> None:
    with pytest.raises(ValueError, match="bad"), stopping.stopping_all_when_one_fails():
        raise ValueError("bad")
    with pytest.raises(Stopped, match="another step failed"):
        stopping.stop_if_asked("train style")
    with stopping.stopping_all_when_one_fails():
        stopping.stop_if_asked("train style")


def test_the_first_who_asks_is_heard() -> None:
    stopping.ask("paused in Prefect")
    stopping.ask("the run was deleted")
    assert stopping.asked() == "paused in Prefect"
    assert stopping.signal_heard() == 0


def _in_thread(function: Callable[[], None]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_a_flow_in_another_thread_runs_though_it_hears_no_signals(handlers: list[object]) -> None:
    heard = []

    def flow() -> None:
        with stopping.heeding_signals():
            heard.append(signal.getsignal(signal.SIGTERM))

    _in_thread(flow)
    assert heard == [handlers[1]]
