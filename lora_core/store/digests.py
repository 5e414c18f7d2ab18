"""SHA-256 of bytes, files and values: the names under which everything is kept."""

import hashlib
import json
import mmap
import re
from pathlib import Path
from typing import Any

from lora_core.progress import Progress, silent

_CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 22
TAKES_A_WHILE_BYTES = 10**9
"""A file as large as this is read for seconds, from a hard disk for a minute, in which a person sees nothing else."""

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: equal values have equal bytes (RFC 8785's idea, Python's floats)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path, progress: Progress = silent) -> str:
    """SHA-256 of a file's bytes, read in pieces.

    Args:
        path: of the file.
        progress: called after every piece with the megabytes read, of how many.
    """
    hasher, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_PIECE_BYTES):
            hasher.update(chunk)
            done += len(chunk)
            progress(done // 10**6, total // 10**6)
    return hasher.hexdigest()


def copy_file(source: Path, target: Path) -> str:
    """Copy a file; returns the digest of what was copied."""
    hasher = hashlib.sha256()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(_CHUNK_BYTES):
            hasher.update(chunk)
            writing.write(chunk)
    return hasher.hexdigest()


def digests_in(path: Path) -> set[str]:
    """Digests that a JSON file names; none for anything that is not JSON."""
    with path.open("rb") as file:
        if file.read(1) not in (b"{", b"[", b'"'):
            return set()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return {match.group().decode() for match in _DIGEST.finditer(data)}
