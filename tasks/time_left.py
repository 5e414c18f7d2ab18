"""How long the rest of a run takes: steps at work at their own pace, others as this machine did them before."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Set
from contextvars import ContextVar, copy_context
from functools import cache, partial

from prefect.context import TaskRunContext

from lora_core.printable import duration
from lora_core.progress import Countdown
from tasks.steps import ON_ACCELERATOR

Expected = Mapping[str, float | None]
"""Seconds of each step that is to do, by the name that Prefect shows; None: nothing of its kind was measured here."""

Ask = Callable[[Set[str]], Expected]
"""What is to do, and how long it takes, given the steps that this run has done; the answer takes seconds itself."""
_SHORT_SECONDS = 20.0
"""A step that is done sooner asks nothing: the answer costs a dry run, and nobody looks at a clock for that long."""
_ASKS_SECONDS = 10.0
"""A step that is done before the question is answered waits for that as long: no thread outlives its run."""


class RunClock:
    """One run's."""

    def __init__(self, make: Callable[[], Ask]) -> None:
        """Know nothing yet.

        Args:
            make: makes what is asked; it is not made where no step trains or draws.
        """
        self._make, self._expected = cache(make), dict[str, float | None]()
        self._working, self._done, self._known_done = dict[str, Countdown](), set[str](), frozenset[str]()

    def prepare(self) -> None:
        """Import what the question needs, in the thread that this is called from."""
        self._make()

    @contextlib.contextmanager
    def timing(self, countdown: Countdown) -> Iterator[None]:
        """Count a step's own pace while the block runs."""
        node = _node()
        self._working[node] = countdown
        # Only then are pictures prepared and captioned, which the question would otherwise do beside the steps. Asked
        # again at each of these steps: those before have measured this machine's pace.
        asks = any(node.startswith(step) for step in ON_ACCELERATOR)
        over = threading.Event()
        look = partial(copy_context().run, self._look_aside, over)
        asking = threading.Thread(target=look, daemon=True) if asks else None
        if asking:
            self.prepare()  # here, and not beside the step
            asking.start()
        try:
            yield
        finally:
            over.set()
            if asking:
                asking.join(_ASKS_SECONDS)
            self._working.pop(node, None)
            self._done.add(node)

    def _look_aside(self, over: threading.Event) -> None:
        _aside.set(True)
        if not over.wait(_SHORT_SECONDS):
            self.look()

    def look(self) -> None:
        """Ask what is to do."""
        done = frozenset(self._done)
        with contextlib.suppress(Exception):  # no run fails for its clock
            self._expected, self._known_done = dict(self._make()(done)), done

    @property
    def seconds_left(self) -> float | None:
        """Of the run, as far as it is known; None: not at all."""
        known = [countdown.seconds_left for countdown in list(self._working.values()) if countdown.has_pace]
        return sum(known) + sum(filter(None, self._waiting)) if self._expected and known else None

    @property
    def text(self) -> str:
        """The same in words; empty: unknown."""
        seconds = self.seconds_left
        least = "at least" if None in self._waiting else "about"
        return "" if seconds is None else f"{least} {duration(seconds)} to the run's end"

    @property
    def short_text(self) -> str:
        """The same beside a step's own time; empty: unknown."""
        seconds = self.seconds_left
        return "" if seconds is None else f"· run {duration(seconds)}"

    @property
    def _waiting(self) -> list[float | None]:
        # A node of several rounds is to do again after it was done.
        over = self._working.keys() | (self._done - self._known_done)
        return [self._expected[node] for node in self._expected.keys() - over]


def _node() -> str:
    context = TaskRunContext.get()
    return context.task_run.name if context else ""


_aside: ContextVar[bool] = ContextVar("aside", default=False)


def is_aside() -> bool:
    """Whether this is the question itself, which looks at the graph beside the run: nothing of it is said or timed."""
    return _aside.get()


_clock: ContextVar[RunClock | None] = ContextVar("clock", default=None)


@contextlib.contextmanager
def whole_run(make: Callable[[], Ask]) -> Iterator[None]:
    """Let the steps in this block know how long the rest takes."""
    token = _clock.set(RunClock(make))
    try:
        yield
    finally:
        _clock.reset(token)


def run_clock() -> RunClock:
    """The run's; outside of one, a clock that knows nothing."""
    return _clock.get() or RunClock(lambda: lambda _: {})
