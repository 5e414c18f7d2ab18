"""Steps that an earlier version finished: Prefect kept their records in STORE/results."""

import json
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from lora_core.disk import read_regular
from lora_core.refs import Ref
from lora_core.store import EARLIER_RESULTS, Store

_LARGEST_BYTES = 1 << 16


def recorded_earlier(store: Store, key: str) -> Ref | None:
    """What a step came to, by such a record.

    It is read as plain JSON: what it says of classes and serializers is not followed. The key in it and the digest of
    what it names stand for the checksum that it has not.
    """
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        record: Any = json.loads(read_regular(store.root / EARLIER_RESULTS / key, _LARGEST_BYTES))
        if PurePath(record["metadata"]["storage_key"]).name == key:
            return Ref.model_validate(json.loads(record["result"])["data"])
    return None


def forget_earlier(store: Store, key: str) -> None:
    """Remove such a record: there is one of ours now."""
    with suppress(OSError):
        (store.root / EARLIER_RESULTS / key).unlink()
