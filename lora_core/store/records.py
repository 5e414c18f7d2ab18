"""Small records as they lie on a disk: a value, the key it was recorded under, and a checksum over both."""

import contextlib
import functools
import json
import os
import time
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from lora_core.errors import StoreError
from lora_core.refs import Ref
from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.files import read_regular, write_atomically
from lora_core.store.outputs import check_length
from lora_core.store.remote import Remote

T = TypeVar("T")
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


_LARGEST_EARLIER_BYTES = 1 << 16


def earlier_records(root: Path) -> Path:
    """The folder of such records in a store."""
    return root / "results"


def recorded_earlier(root: Path, key: str) -> Ref | None:
    """What a step came to, by such a record.

    It is read as plain JSON: what it says of classes and serializers is not followed. The key in it and the digest of
    what it names stand for the checksum that it has not.
    """
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        record: Any = json.loads(read_regular(earlier_records(root) / key, _LARGEST_EARLIER_BYTES))
        if PurePath(record["metadata"]["storage_key"]).name == key:
            return Ref.model_validate(json.loads(record["result"])["data"])
    return None


class Records:
    """The records of a store by their keys; a forgetful one finds none, and still writes them."""

    def __init__(self, root: Path, *, forgetful: bool = False, remote: Remote | None = None) -> None:
        self.root = root.expanduser().absolute()
        check_length(self.root)
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root}: a file, and a store is a folder; name another (--store, [runtime] store)")
        self.forgetful = forgetful
        self._remote = remote

    def record(self, key: str, schema: type[T]) -> T | None:
        """What was recorded under a key, or None: nothing was, it was damaged, or it is not what the schema says."""
        if self.forgetful:
            return None
        known = self._own_record(key, schema)
        if known is None and self._remote is not None:
            data = self._remote.read(self._name(self._record(key)), LARGEST_BYTES)
            with contextlib.suppress(ValueError):
                unsealed(key, data or b"")
                write_atomically(self._record(key), data or b"")
                known = self._own_record(key, schema)
        return known

    def set_record(self, key: str, value: Any) -> None:
        """Record a value under a key."""
        data = sealed(key, value)
        write_atomically(self._record(key), data)
        if self._remote is not None:
            self._remote.write(self._name(self._record(key)), data)

    def _own_record(self, key: str, schema: type[T]) -> T | None:
        path = self._record(key)
        value = read_record(path, key)
        if value is None:
            return None
        try:
            known: T = _adapter(schema).validate_python(value)  # type: ignore[arg-type]  # every type can be hashed
        except ValidationError:
            return None
        mark_used(path)
        return known

    def _record(self, key: str) -> Path:
        return self.root / "records" / key[:2] / f"{key}.json"

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


@functools.cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)
