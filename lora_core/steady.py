"""Reading files that others may be writing: what comes of it belongs to one version of their bytes, or is refused."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lora_core.errors import StoreError

Read = TypeVar("Read")

# Clocks of file systems tick every few milliseconds: a change as young as that may be followed by one that looks alike.
_REST_SECONDS = 0.05
_PATIENCE_SECONDS = 10.0


def file_fact(path: Path) -> dict[str, Any]:
    """What tells a version of a file from another without reading it.

    The time of change is the system's own: who writes into a file and sets its size and time back changes it all the
    same.
    """
    stat = path.stat()
    return {
        "path": str(path),
        "size": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "changed_ns": stat.st_ctime_ns,
        "inode": stat.st_ino,
    }


def read_steadily(path: Path, read: Callable[[], Read]) -> tuple[Read, dict[str, Any]]:
    """Read a file, again if it was replaced or written to meanwhile.

    Args:
        path: the file.
        read: reads it from its beginning to its end.

    Returns:
        What was read, and the fact of the file that it belongs to.

    Raises:
        StoreError: it is written to all the time.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        before = file_fact(path)
        rest = time.time() - max(before["modified_ns"], before["changed_ns"]) / 1e9
        if 0 <= rest < _REST_SECONDS:
            time.sleep(_REST_SECONDS)
        found = read()
        if file_fact(path) == before:
            return found, before
        if time.monotonic() > deadline:
            raise StoreError(f"{path}: is written to while it is read; run the same command again when that has ended")
