"""Jobs in processes of their own, each with a limit; what they find is on the disk as soon as it is found.

A process of its own because a GPU that failed once (an illegal access, a launch that hangs) fails for the rest of that
process; and because what is killed at its limit must not take the other rows along.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lora_core.store.files import write_atomically

Row = dict[str, Any]
Emit = Callable[[Row], None]
"""Hands one row over; it is saved before the next one is measured."""


_PATIENCE = 10
"""Times longer may a job take in a rehearsal: whether it runs is asked, not how fast a crowded machine is."""


@dataclass(frozen=True)
class Settings:
    """What every job is told.

    Attributes:
        device: as `lora_core.device.pick_device` takes it.
        rehearse: toy sizes, a step or two of each.
        folder: for files; all jobs share it.
        timed_seconds: how long each way is timed, in rounds.
        sd_scripts: a checkout of kohya-ss/sd-scripts, or "".
    """

    device: str
    rehearse: bool
    folder: Path
    timed_seconds: float = 6.0
    sd_scripts: str = ""


@dataclass(frozen=True)
class Job:
    """One process' work.

    Attributes:
        name: of its rows.
        work: a function of a module, called with settings, `emit` and `arguments`.
        seconds: at most; then it is killed.
        arguments: for `work`; all picklable.
        needs_seconds: it is not begun with less time left.
    """

    name: str
    work: Callable[..., None]
    seconds: float
    arguments: tuple[Any, ...] = ()
    needs_seconds: float = 15.0


@dataclass
class Journal:
    """Rows in a file of JSON lines, written anew (temporary name, then rename) after every row.

    A journal that is there already is continued: its finished jobs are not run again.
    """

    path: Path | None
    say: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take in what is there."""
        if self.path is not None and self.path.exists():
            self.rows = [json.loads(line) for line in self.path.read_text().splitlines() if line.strip()]

    @property
    def finished(self) -> set[str]:
        """Jobs that came to their end."""
        return {row["job"] for row in self.rows if row.get("status") == "done"}

    def drop(self, job: str) -> None:
        """Forget rows of a job that is run again."""
        self.rows = [row for row in self.rows if row.get("job") != job]

    def add(self, job: str, row: Row) -> None:
        """Save a row and print it."""
        whole = {"job": job, **row}
        self.rows.append(whole)
        if self.path is not None:
            text = "".join(json.dumps(each, allow_nan=False, default=str) + "\n" for each in map(_plain, self.rows))
            write_atomically(self.path, text.encode())
        self.say(shown(whole))


def _plain(value: Any) -> Any:
    """Without numbers that JSON lacks."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value


def shown(row: Row) -> str:
    """A row in one line for a terminal."""
    parts = [f"{name} {_short(value)}" for name, value in row.items() if name != "job"]
    return f"[{row['job']}] " + ", ".join(parts)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_short(each)}" for name, each in value.items()) + ")"
    return " ".join(map(_short, value)) if isinstance(value, list | tuple) else str(value)


def run_all(jobs: Sequence[Job], settings: Settings, journal: Journal, minutes: float, preload: Sequence[str]) -> None:
    """Every job that the journal lacks, in order, as long as there is time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    until = time.monotonic() + 60 * minutes
    for job in jobs:
        if job.name in journal.finished:
            continue
        journal.drop(job.name)
        left = until - time.monotonic()
        if left < min(job.needs_seconds, job.seconds):
            journal.add(job.name, {"status": "no time left"})
            continue
        begun = time.monotonic()
        limit = job.seconds * (_PATIENCE if settings.rehearse else 1)
        ending = _run(context, job, settings, journal, min(limit, left))
        journal.add(job.name, {**ending, "seconds": round(time.monotonic() - begun, 1)})


def _run(context: Any, job: Job, settings: Settings, journal: Journal, limit_seconds: float) -> Row:
    """Run a job to its end or limit, saving its rows; returns how it ended."""
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(job, settings, there))
    child.start()
    there.close()
    try:
        return _listen(here, child, job, journal, time.monotonic() + limit_seconds, limit_seconds)
    finally:
        if child.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)  # with what it has started: compilers, sd-scripts
            child.kill()
        child.join()
        here.close()


def _listen(here: Connection, child: Any, job: Job, journal: Journal, until: float, limit_seconds: float) -> Row:
    while here.poll(max(0.0, until - time.monotonic())):
        try:
            row = here.recv()
        except EOFError:
            child.join(10)
            return {"status": "failed", "error": f"the process ended with {child.exitcode}"}
        if "status" in row:
            return row
        journal.add(job.name, row)
    return {"status": "stopped", "error": f"stopped after its {limit_seconds:.0f} s"}


def _child(job: Job, settings: Settings, sender: Connection) -> None:
    """The job, in a process group of its own that ends with its parent."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        job.work(settings, sender.send, *job.arguments)
    except BaseException as error:  # whatever it is, the next job is to run
        sender.send({"status": "failed", "error": reason(error)})
    else:
        sender.send({"status": "done"})


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


def reason(error: BaseException) -> str:
    """An error's type and first line."""
    first = (str(error).splitlines() or [""])[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@contextlib.contextmanager
def noted(emit: Emit, **of: Any) -> Iterator[None]:
    """Let an error in this block become a row, and go on behind it."""
    try:
        yield
    except Exception as error:
        emit({**of, "error": reason(error)})
