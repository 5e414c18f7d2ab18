"""Files as the store writes and reads them: to a temporary name, synced, renamed; read whole and unchanged."""

import contextlib
import errno
import itertools
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil

from lora_core.errors import StoreError

_TOLD_BY_RUST = re.compile(r"\(os error (\d+)\)")
_HOST = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
_PLAINLY = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"))
_READERS_BLOCK, _READERS_SECONDS = os.name == "nt", 5.0
_SYNCED = os.O_RDWR if os.name == "nt" else os.O_RDONLY  # Windows syncs nothing that is open for reading only
_numbers = itertools.count()  # clocks of Windows stand still for 16 ms
NAME_BYTES = 255
"""Of a file's or folder's name: what file systems take. (Windows and macOS count letters of UTF-16.)"""
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
            move(temporary, path)
            sync(path.parent)
    finally:
        remove(temporary)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or none of it."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def move(source: Path, target: Path) -> None:
    """Rename, over what is there. On Windows whoever reads a file, a virus scanner too, is in the way for a moment."""
    deadline = time.monotonic() + _READERS_SECONDS
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if not _READERS_BLOCK or time.monotonic() > deadline:
                raise
        time.sleep(_REST_SECONDS)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk; Windows keeps a folder's names by itself."""
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else _SYNCED)
    except PermissionError:
        if path.is_dir():
            return
        raise
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
    handle = os.open(path, os.O_RDONLY | _PLAINLY)
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
    ending = f".{_HOST}.{os.getpid()}.{time.monotonic_ns()}{next(_numbers):04d}.tmp"
    name = os.fsencode(path.name)[: NAME_BYTES - 1 - len(ending)]
    return path.with_name(f".{name.decode(errors='ignore')}{ending}")


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


# Files whose bytes this process has compared with their digest: gigabytes are not read twice.
_sound: set[tuple[object, ...]] = set()


def is_sound(path: Path, sha256: str) -> bool:
    """Whether this process has seen that the bytes are those of the digest."""
    return (sha256, *file_fact(path).values()) in _sound


def seen_sound(path: Path, sha256: str) -> None:
    """The bytes are those of the digest, as long as the file stays what it is."""
    _sound.add((sha256, *file_fact(path).values()))
