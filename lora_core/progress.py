"""How long work tells where it stands, without knowing who listens."""

import time
from collections.abc import Callable
from typing import Protocol


class Stopped(BaseException):
    """Work was asked to end before it was finished. What it had done is kept; whoever raises it again says where.

    Attributes:
        kept: what was saved last, such as "step 37 of 120"; empty: nothing that a message should name.
    """

    kept: str = ""


class Progress(Protocol):
    """Called whenever a piece of work is done."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` pieces are finished; `note` adds figures such as a loss.

        Raises:
            Stopped: the work is to end now. A training saves its state first.
        """


def silent(done: int, total: int, note: str = "") -> None:
    """The listener that does nothing."""


class Countdown:
    """How long work will still take, at its own pace since it was first heard of."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._started = clock, clock()
        self._first = self._done = self._total = 0

    def tell(self, done: int, total: int) -> None:
        """`done` of `total` pieces are finished. A resumed training begins behind what was done before."""
        if not self._total:
            self._started, self._first = self._clock(), done
        self._done, self._total = done, total

    @property
    def has_pace(self) -> bool:
        """Whether a piece was done since it was first heard of."""
        return self._done > self._first

    @property
    def seconds_left(self) -> float:
        """By the pieces since the first report."""
        since = self._clock() - self._started
        return since / max(self._done - self._first, 1) * (self._total - self._done)
