"""Work side by side: a tiny model gains little from a second core, a second process gains nearly all of it."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, Final, NamedTuple, TypeVar

from lora_core.device import pick_device, use_threads
from lora_core.errors import HeadcanonError
from lora_core.progress import Stopped

Work = TypeVar("Work")
Result = TypeVar("Result")
_LOOK_SECONDS: Final = 2.0
_END_SECONDS: Final = 20.0


class Done(NamedTuple):
    """One piece of work: which, what came of it, how long it took."""

    place: int
    result: Any
    seconds: float


def lanes_here() -> int:
    """As many as there are cores; one where there is a GPU, for a second would only wait for it."""
    return len(os.sched_getaffinity(0)) if pick_device("auto").type == "cpu" else 1


def side_by_side(
    works: Sequence[Work], group_of: Callable[[Work], Hashable], do: Callable[[Work], Result], lanes: int
) -> Iterator[Done]:
    """Do all of it, in whatever order it comes to an end.

    Every lane computes with one thread, however many lanes there are: sums of floats hang on the number of threads, and
    results must not hang on the number of lanes.

    Args:
        works: what to do; each can be sent to another process.
        group_of: works of one group share something that is made once, so they follow one another.
        do: a function of a module; it catches what may go wrong.
        lanes: processes at once; with one everything is done in this one.

    Raises:
        HeadcanonError: a process ended by itself.
    """
    groups: dict[Hashable, list[tuple[int, Work]]] = {}
    for index, work in enumerate(works):
        groups.setdefault(group_of(work), []).append((index, work))
    lanes = min(lanes, len(groups))
    if lanes > 1:
        yield from _in_processes(list(groups.values()), do, lanes, len(works))
        return
    use_threads(1)
    for index, work in (each for group in groups.values() for each in group):
        yield _done(index, work, do)


def _in_processes(groups: Sequence[Any], do: Callable[[Any], Any], lanes: int, count: int) -> Iterator[Done]:
    context = multiprocessing.get_context("spawn")
    waiting, done = context.Queue(), context.Queue()
    for group in [*groups, *[None] * lanes]:
        waiting.put(group)
    processes = [context.Process(target=_lane, args=(waiting, done, do)) for _ in range(lanes)]
    for process in processes:
        process.start()
    try:
        for _ in range(count):
            yield _next(done, processes)
    finally:
        for process in processes:
            _end(process)


def _lane(waiting: Any, done: Any, do: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    use_threads(1)
    with contextlib.suppress(KeyboardInterrupt, Stopped):  # the first process says that it was stopped
        for group in iter(waiting.get, None):
            for index, work in group:
                done.put(_done(index, work, do))


def _end_with_the_first() -> None:
    """Whoever kills the first process wants nothing to go on, nor what this one started; what is trained is saved."""
    if first := multiprocessing.parent_process():
        first.join()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_END_SECONDS)
        os._exit(1)


def _done(index: int, work: Any, do: Callable[[Any], Any]) -> Done:
    begun = time.monotonic()
    return Done(index, do(work), time.monotonic() - begun)


def _next(done: Any, processes: Sequence[BaseProcess]) -> Done:
    while True:
        with contextlib.suppress(queue.Empty):
            found: Done = done.get(timeout=_LOOK_SECONDS)
            return found
        codes = [each.exitcode for each in processes]
        if any(codes) or None not in codes:  # whoever ends well has sent everything before
            code = next(filter(None, codes), 0)
            raise HeadcanonError(
                f"one of {len(processes)} processes ended by itself (exit {code}); if memory ran out, take fewer with "
                "--lanes; the same command goes on from here"
            )


def _end(process: BaseProcess) -> None:
    """Ask it to stop as Ctrl-C does, so that it can end what it started; then end it."""
    process.join(timeout=0.1)
    if process.pid and process.exitcode is None:
        os.kill(process.pid, signal.SIGINT)
        process.join(timeout=_END_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
