"""Work that is asked to end: by a signal, by Prefect's UI, or because another step failed.

Whoever asks leaves a note; whoever works reads it at its next report of progress, saves what it has and ends. A
training so ends at a step, with its state saved, wherever a person or a machine chose to stop it.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from lora_core.progress import Stopped

# Windows has no SIGHUP, and sends SIGBREAK for Ctrl-Break and a closed window.
SIGNALS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)

SAVES_SECONDS = 100
"""The longest that a stopped run may take to end: a step, and the state of the largest LoRA on a slow network disk."""


class _Asked:
    """What this process was asked."""

    def __init__(self) -> None:
        self.why, self.by = "", 0
        self.kept = ""
        self.ending = False  # somebody heeds it already
        self.sister_failed = False
        self.working = 0  # pieces of work that look here now and then


_asked = _Asked()
_lock = threading.Lock()


def ask(why: str) -> None:
    """Ask all work of this process to end; the first one who asks is heard."""
    with _lock:
        _asked.why = _asked.why or why


def asked() -> str:
    """Why this process' work is to end; empty: it is not."""
    return _asked.why


def signal_heard() -> int:
    """The number of the signal that asked; 0: none did."""
    return _asked.by


def kept() -> str:
    """What work that was stopped has saved, for a message; empty: nothing that is under way was lost by ending."""
    return f" The training's state is saved ({_asked.kept})." if _asked.kept else ""


def wait_for_work(at_most_seconds: float = SAVES_SECONDS) -> None:
    """Wait until everything in the background has saved what it has; from now on nothing is cut off by a signal."""
    _asked.ending = True
    end = time.monotonic() + at_most_seconds
    while _asked.working and time.monotonic() < end:
        time.sleep(0.1)


def stop_if_asked(step: str) -> None:
    """Called now and then by a step that runs or waits.

    Raises:
        Stopped: it is to end.
    """
    if why := _asked.why or ("another step failed" if _asked.sister_failed else ""):
        raise Stopped(f"{step}: {why}")


@contextlib.contextmanager
def working() -> Iterator[None]:
    """In this block somebody calls `stop_if_asked` now and then, so that nothing has to be cut off."""
    with _lock:
        _asked.working += 1
    try:
        yield
    except Stopped as stopped:
        _asked.kept = stopped.kept or _asked.kept
        raise
    finally:
        with _lock:
            _asked.working -= 1


@contextlib.contextmanager
def heeding_signals() -> Iterator[None]:
    """Take Ctrl-C, SIGTERM and a closed terminal as a wish that work heeds; the second one ends the process at once.

    In the main thread only, for Python hears signals nowhere else. Prefect puts its own handler in place when a flow
    starts, so the flow's function heeds anew. What is ignored stays so: `nohup` means it. A process that is to end
    heeds to its end: a second signal must not cut off what tells its state.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _heed) for number in heard}
    try:
        yield
    finally:
        if not asked():
            for number, handler in before.items():
                signal.signal(number, handler)


def _heed(number: int, frame: FrameType | None) -> None:
    if _asked.by:
        os._exit(128 + _asked.by)
    _asked.by = number  # no lock: whoever holds it is interrupted by this very function
    _asked.why = _asked.why or f"stopped by {signal.Signals(number).name}"
    if not _asked.working and not _asked.ending:
        _asked.ending = True
        raise Stopped(_asked.why)
    if sys.stderr.isatty():
        sys.stderr.write("\nStopping: what is under way is saved first; once more ends at once.\n")


def ignore_signals() -> None:
    """End by oneself, whoever asks for it: a run that is suspended and about to end must not be called Crashed."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def stopping_all_when_one_fails() -> Iterator[None]:
    """When the block fails, steps that still run in the background end at their next report of progress."""
    _asked.sister_failed = False
    try:
        yield
    except BaseException:
        _asked.sister_failed = True
        raise
