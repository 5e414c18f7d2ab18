"""A process beside the server that does the page's work on pictures, one piece at a time, so that the page answers."""

import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor
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
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._last: Future[Any] = Future()
        self._idle = threading.Timer(_IDLE_SECONDS, self._end)

    def begin(self, function: str, *args: str) -> Future[Any]:
        """Have a function of `flows.studio.character` called over there: this process never loads what it needs."""
        with self._lock:
            try:
                self._last = self._process().submit(_call, function, args)
            except BrokenProcessPool:  # by what was asked before
                self._pool = None
                self._last = self._process().submit(_call, function, args)
            self._rest()
            return self._last

    def ask(self, function: str, *args: str) -> Any:
        """What it comes to.

        Raises:
            HelperError: the process was killed, or ran out of memory.
        """
        try:
            return self.begin(function, *args).result()
        except BrokenProcessPool:
            raise HelperError("looking at the pictures was cut off (out of memory?); reload the page") from None

    def _process(self) -> ProcessPoolExecutor:
        self._pool = self._pool or ProcessPoolExecutor(1, get_context("spawn"), _end_with_parent)
        return self._pool

    def _rest(self) -> None:
        self._idle.cancel()
        self._idle = threading.Timer(_IDLE_SECONDS, self._end)
        self._idle.daemon = True
        self._idle.start()

    def _end(self) -> None:
        with self._lock:
            if not self._last.done():
                self._rest()
            elif self._pool:
                self._pool.shutdown(wait=False)
                self._pool = None


def _call(function: str, args: tuple[str, ...]) -> Any:
    return getattr(import_module("flows.studio.character"), function)(*args)


def _end_with_parent() -> None:
    def watch() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
