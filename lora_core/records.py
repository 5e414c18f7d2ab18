"""Small records as they lie on a disk: a value, the key it was recorded under, and a checksum over both."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from lora_core.digests import canonical_json, digest_of
from lora_core.disk import read_regular

LARGEST_BYTES = 64 << 20
# A record says by its time when it was used last. More often than that it need not be told.
_USED_EVERY_SECONDS = 60.0


def sealed(key: str, value: Any) -> bytes:
    """A value as it is written."""
    checksum = digest_of(canonical_json([key, value]))
    return canonical_json({"key": key, "sha256": checksum, "value": value})


def unsealed(key: str, data: bytes) -> Any:
    """The value in what was read.

    Raises:
        ValueError: it is no record, was damaged, or is another key's.
    """
    try:
        found = json.loads(data.decode())
        is_record = isinstance(found, dict) and found.keys() == {"key", "sha256", "value"}
        # To the byte: there is one way to write it.
        is_sound = is_record and sealed(found["key"], found["value"]) == data
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    except ValueError as error:
        raise ValueError("is no JSON") from error
    if not is_record:
        raise ValueError("is no record with a checksum")
    if not is_sound:
        raise ValueError("its content does not fit its checksum")
    if found["key"] != key:
        raise ValueError("is the record of another key")
    return found["value"]


def read_record(path: Path, key: str) -> Any | None:
    """The value in a file, or None if there is none, or none that is sound."""
    try:
        return unsealed(key, read_regular(path, LARGEST_BYTES))
    except (OSError, ValueError):
        return None


def mark_used(path: Path) -> None:
    """Let a record's time say that it was used now, where that can be written."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > _USED_EVERY_SECONDS:
            os.utime(path)
