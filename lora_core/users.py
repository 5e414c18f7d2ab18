"""Which processes use a store: `store gc` deletes nothing under their hands, and what the killed left is found.

Each of them holds a lock on a file with its name until it ends, however it ends.
"""

import atexit
import contextlib
import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from lora_core.disk import disk_errors
from lora_core.errors import StoreError
from lora_core.lease import alone, is_held

GATE = "gc.lock"
"""Held for a moment by who comes, and by `store gc` while it deletes."""

_log = logging.getLogger(__name__)
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
