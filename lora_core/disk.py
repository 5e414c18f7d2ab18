"""How everything of ours is written: to a temporary name, synced, renamed; and what is said when a disk refuses."""

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from lora_core.errors import StoreError

_TOLD_BY_RUST = re.compile(r"\(os error (\d+)\)")
_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
_TEMPORARY = re.compile(r"\..*\.(?P<host>[A-Za-z0-9-]+)\.(?P<process>\d+)\.\d+\.tmp", re.DOTALL)
_EARLIER = re.compile(r"\..*\.tmp|incoming-.*", re.DOTALL)  # of versions whose names did not say the machine
_FORGOTTEN_SECONDS = 86_400.0


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
        if refused in (errno.EISDIR, errno.ENOTDIR):
            raise StoreError(f"{folder}: {error}; a folder and a file have changed places: remove it") from error
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
        remove(temporary)


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


def read_regular(path: Path, largest_bytes: int) -> bytes:
    """A small file's bytes. Nothing else is opened for long: a pipe or a device may never end, or never begin.

    Raises:
        OSError: it cannot be read, or is a link or no file.
        ValueError: it is larger than that.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    with open(handle, "rb") as file:  # noqa: PTH123 (a handle, not a path)
        fact = os.fstat(handle)
        if not stat.S_ISREG(fact.st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        if fact.st_size > largest_bytes:
            raise ValueError(f"larger than {largest_bytes >> 20} MB")
        return file.read(largest_bytes)


def is_file(path: Path) -> bool:
    """Whether there is a file of ours, and no link, pipe, device or folder."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def temporary_name(path: Path) -> Path:
    """A name beside `path` for what is being made of it, which says who makes it."""
    return path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.{time.monotonic_ns()}.tmp")


def remove_leftovers(folder: Path, pattern: str = "**/*") -> None:
    """Remove what killed processes had begun to write in a folder; whoever still writes is left alone."""
    for path in list(leftovers(folder, pattern)):
        remove(path)


def leftovers(folder: Path, pattern: str = "**/*", living: frozenset[int] = frozenset()) -> Iterator[Path]:
    """Temporary files and folders whose process on this machine is gone; of other machines, those of yesterday.

    Args:
        folder: where to look.
        pattern: of the names, as `Path.glob` takes it.
        living: processes that are known to write there, on whatever machine.
    """
    for path in folder.glob(pattern):
        found = _TEMPORARY.fullmatch(path.name)
        if found and int(found["process"]) in living:
            continue
        if (found or _EARLIER.fullmatch(path.name)) and (written := _written(path)) is not None:
            here = found is not None and found["host"] == _HOST
            if time.time() - written > _FORGOTTEN_SECONDS or (
                found and here and not _was_running(int(found["process"]), written)
            ):
                yield path


def _written(path: Path) -> float | None:
    """When something was written last (seconds since the epoch); None: it is gone."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return None


def _was_running(process: int, at: float) -> bool:
    """Whether a process lives that lived then: numbers are given again, in a container at every start."""
    try:
        started: float = psutil.Process(process).create_time()
    except psutil.NoSuchProcess:
        return False
    return started <= at + 1.0


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
