"""What of a store can be deleted: what no work of the last days needs, and what killed processes left."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from lora_core.refs import Ref
from lora_core.store.digests import digests_in, file_digest
from lora_core.store.files import is_file, leftovers, read_regular, remove
from lora_core.store.local import Store
from lora_core.store.locks import GATE, is_held
from lora_core.store.records import LARGEST_BYTES, earlier_records, recorded_earlier, unsealed


class Garbage(NamedTuple):
    """What can be deleted, by what it is, in the order in which it is deleted; and how much is kept."""

    kinds: Mapping[str, tuple[Path, ...]]
    kept: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that can be deleted."""
        return tuple(path for paths in self.kinds.values() for path in paths)


def garbage(store: Store, *, unused_days: float, out: Path | None = None) -> Garbage:
    """What can be deleted while no process uses the store.

    A record is used when it is written or read. Records come first: one whose objects are gone is made again, and an
    object that no record names is only found by the next call.

    Args:
        store: it.
        unused_days: what records that were used in the last so many days name is kept.
        out: folder of published LoRAs, of which only what killed runs left half-written is looked for.
    """
    horizon = time.time() - unused_days * 86400
    records = [*_files(store, "records/??/*.json"), *filter(is_file, earlier_records(store.root).glob("*"))]
    old = {path for path in records if path.lstat().st_mtime < horizon}
    used = [path for path in records if path not in old]
    named = _reachable(store, used)
    keys = {path.stem for path in used}
    kinds = {
        "records of work that was not used": sorted(old),
        "what only they need": _unnamed(store, named, horizon),
        "states of steps": [path for path in _folders(store, "work/*") if path.name in keys or _newest(path) < horizon],
        "curves of trainings": [
            path
            for path in _folders(store, "curves/*")
            if _newest(path) < horizon and not any(key.startswith(path.name.rpartition("-")[2]) for key in keys)
        ],
        "compiled kernels": _kernels(store, horizon),
        "locks that nobody holds": _idle_locks(store),
        "leftovers of killed runs": [*store.leftovers(), *(leftovers(out) if out else ())],
    }
    kept = (*used, *(path for path in _objects(store) if path.name in named))
    return Garbage({name: tuple(paths) for name, paths in kinds.items() if paths}, kept)


def _reachable(store: Store, roots: Iterable[Path]) -> set[str]:
    """Digests that the roots name, and what those name, and so on."""
    found: set[str] = set()
    frontier = list(roots)
    while frontier:
        for sha256 in digests_in(frontier.pop()) - found:
            found.add(sha256)
            if (path := store.where(sha256)) is not None:
                frontier.append(path)
    return found


def _unnamed(store: Store, named: set[str], horizon: float) -> list[Path]:
    pointers = _files(store, "elsewhere/??/*.json")
    held = [*((path, path.name) for path in _objects(store)), *((path, path.stem) for path in pointers)]
    return [path for path, sha256 in held if sha256 not in named and path.lstat().st_mtime < horizon]


def _idle_locks(store: Store) -> list[Path]:
    return [path for path in _files(store, "locks/*.lock") if path.name != GATE and not is_held(path)]


def _kernels(store: Store, horizon: float) -> list[Path]:
    """Those of this user that nothing was compiled into for long, and those of earlier versions."""
    folder = store.compiled_folder()
    old = [path.parent for path in folder.glob("*.json") if path.stat().st_mtime < horizon]
    return [*old, *_folders(store, "compiled")]


def _objects(store: Store) -> Iterator[Path]:
    return (path for path in _files(store, "objects/??/*") if not path.name.startswith("."))


def _files(store: Store, pattern: str) -> list[Path]:
    return [path for path in sorted(store.root.glob(pattern)) if is_file(path)]


def _folders(store: Store, pattern: str) -> list[Path]:
    return [path for path in sorted(store.root.glob(pattern)) if path.is_dir() and not path.is_symlink()]


def _newest(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


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
