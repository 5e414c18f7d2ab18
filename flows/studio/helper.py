"""A process beside the server that does the page's work on pictures, one piece at a time, so that the page answers."""

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from lora_core.errors import HeadcanonError

_IDLE_SECONDS = 60.0


class HelperError(HeadcanonError):
    """The helper process ended in the middle of its work."""


class Helper:
    """Starts the process when there is something to do; it ends when there was nothing for a minute, or nobody is left.

    A process that works with the store is known as its user until it ends: an idle one would keep `store gc` waiting.
    """

    def __init__(self) -> None:
        self._line = ThreadPoolExecutor(1, "studio-helper")
        self._pipe: Connection | None = None
        self._last_asked = 0.0

    def begin(self, function: str, *args: object) -> Future[Any]:
        """Have a function of `flows.studio.character` called over there: this process never loads what it needs."""
        return self._line.submit(self._have_called, function, args)

    def ask(self, function: str, *args: object) -> Any:
        """What it comes to.

        Raises:
            HelperError: the process was killed, or ran out of memory.
        """
        return self.begin(function, *args).result()

    def _have_called(self, function: str, args: tuple[object, ...]) -> Any:
        if self._pipe is None or monotonic() > self._last_asked + 0.9 * _IDLE_SECONDS:  # it is about to end
            self._pipe, there = get_context("spawn").Pipe()
            get_context("spawn").Process(target=_work, args=(there,), daemon=True).start()
            there.close()
        try:
            self._pipe.send((function, args))
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._pipe = None
            raise HelperError("looking at the pictures was cut off (out of memory?); reload the page") from None
        self._last_asked = monotonic()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _work(asked: Connection) -> None:
    from flows.studio import character

    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):  # whoever asked is gone
        while asked.poll(_IDLE_SECONDS):
            function, args = asked.recv()
            try:
                answer: object = getattr(character, function)(*args)
            except Exception as error:
                answer = error
            asked.send(answer)
