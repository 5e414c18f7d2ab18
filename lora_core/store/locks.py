"""One worker at a time: two runs that come to the same piece of work share it instead of doing it twice.

A lock of the operating system (flock), on a local disk or NFS: it ends with its holder, even one that was killed, so
nobody ever waits for the dead. Where a file system has no such locks, a file beside it says who works and that they
live; one that was killed on another machine is waited for for a minute.
"""

import atexit
import contextlib
import errno
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

from lora_core.errors import StoreError
from lora_core.store.files import disk_errors

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


GATE = "gc.lock"
"""Held for a moment by who comes, and by `store gc` while it deletes."""

_mutex = threading.Lock()
_held: dict[tuple[int, Path], contextlib.ExitStack] = {}


def enter(locks: Path) -> frozenset[int] | None:
    """Let this process be known as a user of the store until it ends.

    Args:
        locks: the store's folder for locks.

    Returns:
        None; if users were killed since somebody looked last: the process numbers of the others that live.
    """
    with _mutex:
        me = os.getpid(), locks
        if me in _held:
            return None
        with disk_errors(locks), alone(_gate(locks), _waiting_for_gc):
            living, dead = _sorted(locks)
            for path in dead:  # before our own lock is there: in a container the next process may have the same number
                path.unlink(missing_ok=True)
            stack = contextlib.ExitStack()
            own = locks / "users" / f"{_host()}.{os.getpid()}.lock"
            stack.callback(own.unlink, missing_ok=True)  # after the lock is given back
            stack.enter_context(alone(own, _waiting_for_gc))
        _held[me] = stack
    atexit.register(_leave, me)
    return frozenset(map(_process, living)) if dead else None


@contextlib.contextmanager
def nobody_else(locks: Path) -> Iterator[None]:
    """Run the block while no process uses the store; whoever comes meanwhile waits.

    Raises:
        StoreError: some do.
    """
    with disk_errors(locks), alone(_gate(locks), lambda seconds: _refuse("another `store gc`", locks)):
        living, dead = _sorted(locks)
        if living:
            _refuse(", ".join(f"process {_process(path)} on {path.stem.rpartition('.')[0]}" for path in living), locks)
        for path in dead:
            path.unlink(missing_ok=True)
        yield


def _leave(me: tuple[int, Path]) -> None:
    # A child that was forked inherits this call, and not what it would give back.
    if me[0] == os.getpid() and (stack := _held.pop(me, None)):
        with contextlib.suppress(OSError):
            stack.close()


def _sorted(locks: Path) -> tuple[list[Path], list[Path]]:
    """Files of the users that live, and of those that don't; nobody comes or goes under the gate's lock."""
    living: list[Path] = []
    dead: list[Path] = []
    for path in sorted((locks / "users").glob("*.lock")):
        (living if is_held(path) else dead).append(path)
    return living, dead


def _gate(locks: Path) -> Path:
    return locks / GATE


def _process(path: Path) -> int:
    number = path.stem.rpartition(".")[2]
    return int(number) if number.isdecimal() else 0


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())


def _refuse(who: str, locks: Path) -> None:
    raise StoreError(f"{locks.parent}: in use by {who}; nothing is deleted until that has ended. Run it again then")


def _waiting_for_gc(seconds: float) -> None:
    if seconds <= 1:
        _log.info("`headcanon store gc` is at work in this store; waiting for it")
