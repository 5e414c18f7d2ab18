"""One worker at a time: two runs that come to the same piece of work share it instead of doing it twice.

A lock of the operating system (flock), on a local disk or NFS: it ends with its holder, even one that was killed, so
nobody ever waits for the dead. Where a file system has no such locks, a file beside it says who works and that they
live; one that was killed on another machine is waited for for a minute.
"""

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

_log = logging.getLogger(__name__)
_LOOK_EVERY_SECONDS = 1.0
_SILENT_SECONDS = 60.0
_BEAT_SECONDS = 10.0
_SURELY_DEAD_SECONDS = 3600.0
_NO_FLOCK = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP))
_told: set[int] = set()  # devices


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
    held: BaseFileLock = FileLock(lock, thread_local=False, fallback_to_soft=False)
    waited_seconds = 0.0
    while True:
        try:
            held.acquire(timeout=_LOOK_EVERY_SECONDS if waited_seconds else 0)
            break
        except Timeout:
            waited_seconds += _LOOK_EVERY_SECONDS
            waiting(waited_seconds)
        except OSError as error:
            if error.errno not in _NO_FLOCK or isinstance(held, SoftFileLease):
                raise
            _tell_once(lock.parent, error)
            # The same object all the while: it measures for how long the other one has been silent.
            held = SoftFileLease(
                lock.with_suffix(".lease"),
                lease_duration=_SILENT_SECONDS,
                heartbeat_interval=_BEAT_SECONDS,
                thread_local=False,
            )
    try:
        yield waited_seconds > 0
    finally:
        held.release()


class HeldError(Exception):
    """Another holds the lock."""


def is_held(lock: Path) -> bool:
    """Whether somebody holds a lock; one that was killed does not."""

    def refuse(seconds: float) -> None:
        raise HeldError

    try:
        with alone(lock, refuse):
            return False
    except HeldError:
        return not _is_long_silent(lock.with_suffix(".lease"))


def _is_long_silent(lease: Path) -> bool:
    """Where there is no flock: whether a holder, maybe on another machine, is dead beyond all differences of clocks."""
    try:
        fact = lease.stat()
    except OSError:
        return False
    return fact.st_dev in _told and time.time() - fact.st_mtime > _SURELY_DEAD_SECONDS


def _tell_once(folder: Path, error: OSError) -> None:
    if (device := folder.stat().st_dev) not in _told:
        _told.add(device)
        _log.warning(
            "%s: this file system keeps no locks (%s); files that say who works stand in for them, and a worker that "
            "is killed is waited for for a minute",
            folder,
            error.strerror,
        )
