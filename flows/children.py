"""Processes that `headcanon up` keeps: started again when they end, ended together when it ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from flows.log_file import LogFile
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
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
