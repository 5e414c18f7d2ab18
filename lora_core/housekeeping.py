"""What is wrong in a store, and what of it can go."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lora_core.digests import digests_in, file_digest
from lora_core.disk import leftovers
from lora_core.store import Store


class Problem(BaseModel):
    """Something wrong in the store, found by `verify`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    what: str


def verify(store: Store, *, repair: bool = False) -> Iterator[Problem]:
    """Read everything and yield what is wrong; `repair` removes it, so that it is made again."""
    for path in store.objects():
        if file_digest(path) != path.name:
            yield Problem(path=str(path), what="its bytes are not what its name says")
            if repair:
                path.unlink()
    for pointer in sorted((store.root / "elsewhere").glob("??/*.json")):
        if store.where(pointer.stem) is None:
            yield Problem(
                path=str(json.loads(pointer.read_bytes())["path"]), what="was moved or changed since it was used"
            )
            if repair:
                pointer.unlink()


def garbage(store: Store, *, unused_days: float) -> list[Path]:
    """What can go: results and records older than that, objects only they named, kernels, leftovers of killed runs."""
    horizon = time.time() - unused_days * 86400
    roots = [path for folder in ("results", "records") for path in store.root.glob(f"{folder}/**/*") if path.is_file()]
    old = {path for path in roots if path.stat().st_mtime < horizon}
    kept: set[str] = set()
    frontier = [path for path in roots if path not in old]
    while frontier:
        for sha256 in digests_in(frontier.pop()):
            if sha256 not in kept:
                kept.add(sha256)
                if (path := store.where(sha256)) is not None:
                    frontier.append(path)
    unnamed = [path for path in store.objects() if path.name not in kept and path.stat().st_mtime < horizon]
    work = [path for path in store.root.glob("work/*") if path.stat().st_mtime < horizon]
    curves = [path for path in store.root.glob("curves/*") if path.stat().st_mtime < horizon]
    compiled = [path.parent for path in store.root.glob("compiled/*.json") if path.stat().st_mtime < horizon]
    locks = [path for path in store.root.glob("locks/*") if path.stat().st_mtime < horizon]
    return [*sorted(old), *unnamed, *leftovers(store.root), *work, *curves, *compiled, *locks]
