"""How everything of ours is written: to a temporary name, synced, renamed; and what is said when a disk refuses."""

import contextlib
import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from lora_core.errors import StoreError

_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
_TEMPORARY = re.compile(r"\..*\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.\d+\.tmp", re.DOTALL)
_FORGOTTEN_SECONDS = 86_400.0

_TOLD_BY_RUST = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Say what the user can do about a disk that does not take what the block writes into a folder.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    try:
        yield
    except Exception as error:
        refused = _refusal(error)
        if refused in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"{folder}: the disk is full; free some space and run the same command again") from error
        if refused in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StoreError(f"{folder}: cannot be written ({os.strerror(refused)}); choose another folder") from error
        raise


def _refusal(error: Exception) -> int:
    """The operating system's number of a refusal, 0 if it is none. Libraries in Rust (safetensors) tell it as text."""
    if isinstance(error, OSError):
        return error.errno or 0
    told = _TOLD_BY_RUST.search(str(error))
    return int(told[1]) if told else 0


def refuse_full_disk(folder: Path, size_bytes: int) -> None:
    """Look before gigabytes are made that have no place.

    Args:
        folder: where they are to be written; it exists.
        size_bytes: how many.

    Raises:
        StoreError: there is less room than that.
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise StoreError(
            f"{folder}: {size_bytes / 1e6:,.1f} MB are needed there, {free / 1e6:,.1f} MB are free; free some space or "
            "choose another folder"
        )


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; when the block ends well its file or folder is synced and renamed to `path`.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    temporary = temporary_name(path)
    try:
        with disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        _remove(temporary)


def temporary_name(path: Path) -> Path:
    """A name beside `path` for what is being made of it, which says who makes it."""
    return path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.{time.monotonic_ns()}.tmp")


def remove_leftovers(folder: Path, pattern: str = "**/.*.tmp") -> None:
    """Remove what killed processes had begun to write in a folder; whoever still writes is left alone."""
    for path in leftovers(folder, pattern):
        _remove(path)


def leftovers(folder: Path, pattern: str = "**/.*.tmp") -> Iterator[Path]:
    """Temporary files and folders whose process on this machine is gone; of other machines, those of yesterday."""
    for path in sorted(folder.glob(pattern)):
        name = _TEMPORARY.fullmatch(path.name)
        if name and name["host"] == _HOST:
            if not psutil.pid_exists(int(name["pid"])):
                yield path
        elif _is_old(path):
            yield path


def _is_old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - _FORGOTTEN_SECONDS
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or none of it."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
