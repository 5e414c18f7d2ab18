"""Steps that an earlier version finished: Prefect kept their records, in STORE/results."""

import json
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from lora_core.disk import read_regular
from lora_core.refs import Ref

_LARGEST_BYTES = 1 << 16


def earlier_records(root: Path) -> Path:
    """The folder of such records in a store."""
    return root / "results"


def recorded_earlier(root: Path, key: str) -> Ref | None:
    """What a step came to, by such a record.

    It is read as plain JSON: what it says of classes and serializers is not followed. The key in it and the digest of
    what it names stand for the checksum that it has not.
    """
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        record: Any = json.loads(read_regular(earlier_records(root) / key, _LARGEST_BYTES))
        if PurePath(record["metadata"]["storage_key"]).name == key:
            return Ref.model_validate(json.loads(record["result"])["data"])
    return None
