"""What of a store can be deleted: what no work of the last days needs, and what killed processes left."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lora_core.digests import digests_in
from lora_core.disk import is_file, leftovers
from lora_core.earlier import earlier_records
from lora_core.lease import is_held
from lora_core.store import Store
from lora_core.users import GATE


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
