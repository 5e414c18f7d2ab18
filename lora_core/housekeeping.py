"""What is wrong in a store."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_core.digests import digests_in, file_digest
from lora_core.disk import is_file, read_regular, remove
from lora_core.earlier import earlier_records, recorded_earlier
from lora_core.records import LARGEST_BYTES, unsealed
from lora_core.refs import Ref
from lora_core.store import Store

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Problem(BaseModel):
    """Something wrong in the store, found by `verify`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    what: str


def verify(store: Store, *, repair: bool = False) -> Iterator[Problem]:
    """Read everything and yield what is wrong; `repair` removes it, so that it is made again.

    A file of the user's that a pointer names is never removed; the pointer is.
    """
    # Records last: what they name may just have been removed.
    for found in (_of_objects(store), _of_pointers(store), _of_records(store)):
        for path, what in found:
            yield Problem(path=str(path), what=what)
            if repair:
                remove(path)


def _of_objects(store: Store) -> Iterator[tuple[Path, str]]:
    for path in _within(store.root / "objects"):
        if not is_file(path) or not _is_named(path, path.name):
            yield path, "is no object: not a file, or not named by a digest"
        elif what := _wrong(path):
            yield path, what


def _of_pointers(store: Store) -> Iterator[tuple[Path, str]]:
    for path in _within(store.root / "elsewhere"):
        if not (what := _fault(path)) and store.pointed(path.stem) is None:
            what = f"{_value(path)['path']} was moved or changed since it was used"
        elif not what and (file := store.pointed(path.stem)) and file_digest(file) != path.stem:
            what = f"{file} holds other bytes than it is known by"
        if what:
            yield path, what


def _of_records(store: Store) -> Iterator[tuple[Path, str]]:
    for path in _within(store.root / "records"):
        if what := _fault(path) or _dangling(store, _value(path)):
            yield path, what
    for path in sorted(earlier_records(store.root).glob("*")):
        if recorded_earlier(store.root, path.name) is None:
            yield path, "is no record of a finished step"


def _within(folder: Path) -> Iterator[Path]:
    """What lies in a folder's folders, and what lies beside them; nothing that is being written or was cut off."""
    for path in sorted(folder.glob("*")):
        inside = sorted(path.iterdir()) if path.is_dir() and not path.is_symlink() and len(path.name) == 2 else [path]
        yield from (each for each in inside if not each.name.startswith((".", "incoming-")))


def _is_named(path: Path, name: str) -> bool:
    return _DIGEST.fullmatch(name) is not None and path.parent.name == name[:2]


def _wrong(path: Path) -> str:
    """What is wrong with an object's bytes; empty if nothing is."""
    try:
        return "" if file_digest(path) == path.name else "its bytes are not what its name says"
    except FileNotFoundError:  # deleted meanwhile
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _fault(path: Path) -> str:
    """Why a file is no sound record; empty if it is one."""
    if path.suffix != ".json" or not _is_named(path, path.stem):
        return "is no record: not named by a key"
    try:
        _value(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError as error:
        return str(error)
    return ""


def _value(path: Path) -> Any:
    return unsealed(path.stem, read_regular(path, LARGEST_BYTES))


def _dangling(store: Store, value: Any) -> str:
    """What a finished step's record names and is gone; other records name what may be made again at any time."""
    try:
        ref = Ref.model_validate(value["ref"])
    except (TypeError, LookupError, ValidationError):
        return ""
    if not store.has(ref.sha256):
        return f"names {ref.kind} {ref.sha256[:12]}…, which is gone"
    path = store.where(ref.sha256)
    if path is None or ref.kind == "tags":
        return ""
    gone = [sha256 for sha256 in sorted(digests_in(path)) if not store.has(sha256)]
    return f"names {ref.kind} {ref.sha256[:12]}…, of which {gone[0][:12]}… is gone" if gone else ""
