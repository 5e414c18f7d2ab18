"""How a finished file or folder gets its name: never over other bytes, never half."""

import contextlib
import glob
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lora_core.digests import file_digest
from lora_core.disk import disk_errors, remove_leftovers, temporary_name
from lora_core.errors import OutputExistsError, UserError
from lora_core.hub.formats import read_header


@contextlib.contextmanager
def settling(out: Path) -> Iterator[Path]:
    """A place beside `out`, on the same disk. What the block has made there gets the name; else nothing stays.

    Equal bytes that have the name already are as good.

    Raises:
        OutputExistsError: other bytes have the name.
        StoreError: the disk is full or not writable.
    """
    with disk_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out.parent, f".{glob.escape(out.name)}.*.tmp")
        temporary = temporary_name(out)
        temporary.mkdir()
    try:
        made = temporary / out.name
        yield made
        if not out.exists():
            made.replace(out)
        elif _digests(made) != _digests(out):
            raise taken(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def taken(out: Path) -> OutputExistsError:
    """The error for a name that other bytes have."""
    return OutputExistsError(f"{out}: exists with other content and is never overwritten; choose another name")


def refuse_taken(out: Path, key: str, note: str) -> None:
    """Refuse a name before the work and not after it: unless the file there says that it was made from the same.

    Args:
        out: the file to be made.
        key: of its metadata.
        note: what will be written there.

    Raises:
        OutputExistsError: something else has the name.
    """
    if not out.exists():
        return
    try:
        metadata: Mapping[str, str] = read_header(out, str(out)).metadata if out.is_file() else {}
    except UserError:
        metadata = {}
    if metadata.get(key) != note:
        raise taken(out)


def note(**facts: Any) -> str:
    """What a file says of how it was made, as text of its metadata."""
    return json.dumps(facts, sort_keys=True)


def _digests(path: Path) -> dict[str, str]:
    if path.is_file():
        return {"": file_digest(path)}
    return {str(file.relative_to(path)): file_digest(file) for file in sorted(path.rglob("*")) if file.is_file()}
