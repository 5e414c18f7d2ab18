"""Imported first: a file system that keeps no locks, and refuses with the number in NO_FLOCK."""

import fcntl
import os


def _refuse(handle: object, operation: int) -> None:
    number = int(os.environ["NO_FLOCK"])
    raise OSError(number, os.strerror(number))


fcntl.flock = _refuse  # type: ignore[assignment]
