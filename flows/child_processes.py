"""Processes that `headcanon up` keeps: started again when they end, ended together when it ends."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from io import TextIOWrapper
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

import psutil

from flows.process_signals import NEW_GROUP, ask_to_end, kill_group
from lora_core.errors import HeadcanonError

# A child that ends this soon after it was started has something wrong that starting it again will not mend.
_TOO_SOON_SECONDS = 20.0
_MOST_STARTS = 3


class ServiceError(HeadcanonError):
    """A child that cannot be kept running."""


class Child:
    """One of Prefect's own commands, as a process group of its own: Ctrl-C at the terminal reaches only its parent."""

    def __init__(
        self, name: str, command: tuple[str, ...], environment: Mapping[str, str], log: Path, umask: int = -1
    ) -> None:
        self.name, self.log = name, log
        self._command = (sys.executable, "-m", "flows.service", *command)
        self._environment = {**os.environ, **environment}
        self._umask, self._file = umask, LogFile(log)
        self._started, self._failures = 0.0, 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; what it prints goes to the end of its log file."""
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=NEW_GROUP,
            umask=self._umask,
        )
        if self._process.stdout is not None:
            self._file.follow(self._process.stdout)
        self._started = time.monotonic()

    def take_error(self) -> str:
        """The first error in its log since it was first started, once."""
        return self._file.take_error()

    def keep(self) -> bool:
        """Start it again if it has ended; returns whether that was so.

        Raises:
            ServiceError: it ends again and again right after its start.
        """
        if self.running:
            return False
        soon = time.monotonic() - self._started < _TOO_SOON_SECONDS
        self._failures = self._failures + 1 if soon else 0
        if self._failures >= _MOST_STARTS:
            raise ServiceError(f"the {self.name} ends right after its start; what it said is in {self.log}")
        self.start()
        return True

    def processes(self) -> frozenset[str]:
        """Process ids of what it started, as Prefect writes them."""
        return frozenset(str(one.pid) for one in self._family())

    def _family(self) -> list[psutil.Process]:
        if self._process is not None and self.running:
            with contextlib.suppress(psutil.NoSuchProcess):
                return list(psutil.Process(self._process.pid).children(recursive=True))
        return []

    def end(self, patience_seconds: float) -> None:
        """Ask it to end, wait, then end what is left of its group, and of what it started in groups of their own."""
        if self._process is None:
            return
        family = self._family()
        ask_to_end(self._process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_seconds)
        kill_group(self._process.pid)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


# Of one file; there are two, this one and the one before.
LARGEST_BYTES = 10_000_000
_LONGEST_LINE_BYTES = 65_536
# As Prefect writes it. Errors of a run are shown with the run, in the UI.
_ERROR = re.compile(r"\| (?:ERROR|CRITICAL) +\| (?!Flow run |Task run )(?P<what>.+)")


class LogFile:
    """A log that is written from a pipe: whatever happens to the disk, the pipe is emptied and its writer goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handler: _PrivateHandler | None = None
        self._first_error, self._taken = "", False

    def follow(self, pipe: IO[bytes]) -> None:
        """Copy lines from a pipe to the file, in the background, until the pipe ends."""
        if self._handler is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.parent.chmod(0o700)
            self._handler = _PrivateHandler(self.path, maxBytes=LARGEST_BYTES, backupCount=1, delay=True)
        threading.Thread(target=self._copy, args=(pipe, self._handler), daemon=True).start()

    def take_error(self) -> str:
        """The first error that was printed, once; empty before there is one and ever after."""
        if self._taken or not self._first_error:
            return ""
        self._taken = True
        return self._first_error

    def _copy(self, pipe: IO[bytes], handler: RotatingFileHandler) -> None:
        with pipe:
            while line := pipe.readline(_LONGEST_LINE_BYTES):
                text = line.decode(errors="replace").rstrip("\r\n")
                handler.handle(LogRecord("", 0, "", 0, text, None, None))
                if not self._first_error and (error := _ERROR.search(text)):
                    self._first_error = error["what"]


class _PrivateHandler(RotatingFileHandler):
    """Rotates by size; the files can be read by their owner alone."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        Path(self.baseFilename).chmod(0o600)  # one that is there already
        return os.fdopen(handle, "a", encoding="utf-8")

    def handleError(self, record: LogRecord) -> None:  # noqa: N802 (logging's own name)
        """Lose the line: there is nowhere to say that the disk is full."""
