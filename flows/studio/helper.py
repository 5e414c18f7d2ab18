"""A process beside the server that does the page's work on pictures, one piece at a time, so that the page answers."""

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import connection, get_context, parent_process
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
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._working = 0
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
            self._working += 1
            asked = self._pool.submit(_call, function, args)
        try:
            return asked.result()
        except BrokenProcessPool:
            self.end()
            raise HelperError("looking at the pictures was cut off (out of memory?); reload the page") from None
        finally:
            with self._lock:
                self._working -= 1
                if not self._working:
                    self._idle = threading.Timer(_IDLE_SECONDS, self._end_if_idle)
                    self._idle.daemon = True
                    self._idle.start()

    def _end_if_idle(self) -> None:
        with self._lock:
            if self._working:
                return
        self.end()

    def end(self) -> None:
        """End the process."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def _call(function: str, args: tuple[str, ...]) -> Any:
    return getattr(import_module("flows.studio.character"), function)(*args)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
