"""One worker at a time: two runs that come to the same piece of work share it instead of doing it twice.

A lock of the operating system (flock), on a local disk or NFS: it ends with its holder, even one that was killed, so
nobody ever waits for the dead.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_LOOK_EVERY_SECONDS = 1.0


@contextlib.contextmanager
def alone(lock: Path, waiting: Callable[[float], None]) -> Iterator[bool]:
    """Run the block while no other process (or thread) runs it under the same lock.

    Args:
        lock: path of the lock's file, made if need be and left behind, empty.
        waiting: told about every second for how long this one has waited (seconds); may raise to give up.

    Yields:
        Whether it had to wait for another.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock, thread_local=False)
    waited_seconds = 0.0
    while True:
        try:
            held.acquire(timeout=_LOOK_EVERY_SECONDS if waited_seconds else 0)
            break
        except Timeout:
            waited_seconds += _LOOK_EVERY_SECONDS
            waiting(waited_seconds)
    try:
        yield waited_seconds > 0
    finally:
        held.release()
