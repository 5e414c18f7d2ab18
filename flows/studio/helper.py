"""A process beside the server that does the page's work on pictures, one piece at a time, so that the page answers."""

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import get_context, parent_process
from typing import Any

from lora_core.errors import HeadcanonError

_IDLE_SECONDS = 60.0


class HelperError(HeadcanonError):
    """The helper process ended in the middle of its work."""


class Helper:
    """Starts the process when there is something to do, and ends it when there was nothing for a minute.

    A process that works with the store is known as its user until it ends: an idle one would keep `store gc` waiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held while it works: there is one process, and whoever comes next waits
        self._pool: ProcessPoolExecutor | None = None
        self._idle: threading.Timer | None = None

    def ask(self, function: str, *args: str) -> Any:
        """What a function of `flows.studio.character` comes to, over there: this process never loads what it needs.

        Raises:
            HelperError: the process was killed, or ran out of memory.
        """
        with self._lock:
            if self._idle:
                self._idle.cancel()
            self._pool = self._pool or ProcessPoolExecutor(1, get_context("spawn"), _end_with_parent)
            try:
                return self._pool.submit(_call, function, args).result()
            except BrokenProcessPool:
                self._pool = None
                raise HelperError("looking at the pictures was cut off (out of memory?); reload the page") from None
            finally:
                self._idle = threading.Timer(_IDLE_SECONDS, self.end)
                self._idle.daemon = True
                self._idle.start()

    def end(self) -> None:
        """End the process."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _call(function: str, args: tuple[str, ...]) -> Any:
    return getattr(import_module("flows.studio.character"), function)(*args)


def _end_with_parent() -> None:
    def watch() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
