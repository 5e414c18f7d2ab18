"""The disk door: bytes named by their SHA-256, and small records named by the key of the step that made them.

::

    objects/ab/ab12…          bytes, never changed, never overwritten
    elsewhere/ab/ab12….json   large files that stay where the user keeps them (base models), by path
    records/ab/ab12….json     what a piece of work came to, by its key (a step, one picture, one file's digest …)
    work/ab12…/               the state of a step that is not finished
    curves/momo-ab12…/        a training's figures, step by step
    locks/ab12….lock          held while somebody works on that step
    locks/users/HOST.123.lock held by a process that uses the store

Everything is written to a temporary name in the same folder, synced and renamed: a name's presence means success.
Bytes are checked against their name before they are used, records and pointers (`elsewhere`) against the checksum in
them. What is damaged is missing, and made again. Nothing in a store can name code to run.

A store may have a far side (`remote.py`): objects and records are copied there and fetched from there when they are
missing here, so that workers with disks of their own share what they compute.
"""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lora_core.errors import StoreError
from lora_core.refs import Digest, Ref
from lora_core.store.digests import digest_of, digests_in
from lora_core.store.files import (
    leftovers,
    remove,
)
from lora_core.store.locks import alone, enter, nobody_else
from lora_core.store.objects import Objects
from lora_core.store.remote import Remote, lease

# Where something may lie half-written after a kill; logs and what else lies beside is not the store's.
OWN_FOLDERS = ("objects", "elsewhere", "records", "work", "curves")


class TreeFile(BaseModel):
    """One file of a tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Digest
    size_bytes: int


class Tree(BaseModel):
    """Named files: a folder, or a single file under its own name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: Mapping[str, TreeFile]


class Store(Objects):
    """A content-addressed folder.

    A `forgetful` store finds no records, so that work under it is done afresh; it still writes them.
    """

    def has_all(self, ref: Ref) -> bool:
        """Whether a ref can be read whole: its manifest, sound, and every digest the manifest names.

        Tags are whole by themselves: the pictures and the tagger they name were read, and are not needed again.
        """
        if not self.has(ref.sha256):
            return False
        try:
            manifest = self.path(ref.sha256)
        except StoreError:
            return False
        return ref.kind == "tags" or all(self.has(sha256) for sha256 in digests_in(manifest))

    def put_tree(self, files: Mapping[str, Path], *, how: Literal["copy", "move", "refer"] = "copy") -> str:
        """Keep named files as one thing: copied, moved into the store, or left where the user keeps them.

        Returns:
            The digest of the tree's canonical JSON.
        """
        keep = {"copy": self.put_file, "move": self.take_file, "refer": self.refer}[how]
        sizes = {name: path.stat().st_size for name, path in files.items()}
        tree = Tree(
            files={
                str(PurePosixPath(name)): TreeFile(sha256=keep(path), size_bytes=sizes[name])
                for name, path in sorted(files.items())
            }
        )
        return self.put_json(tree.model_dump(mode="json"))

    def tree(self, sha256: str, *, checked: bool = True) -> dict[str, Path]:
        """The tree's files: name → path, for reading only.

        Args:
            sha256: of the tree.
            checked: read each file to its end once in a process, to know that its bytes are sound. False: for plans,
                which read headers alone.
        """
        tree, path = Tree.model_validate(self.get_json(sha256)), self.path if checked else self.find
        return {name: path(file.sha256) for name, file in tree.files.items()}

    # ── unfinished work ──────────────────────────────────────────────────────────────────────────────────────────

    def work_folder(self, key: str) -> Path:
        """A folder for the state of one unfinished step, made if need be."""
        path = self.root / "work" / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    def curves_folder(self, name: str) -> Path:
        """Where a training's figures are drawn for a person to watch: of this machine, and no part of any result."""
        return self.root / "curves" / name

    def compiled_folder(self) -> Path:
        """Where compiled kernels are kept: in this user's cache, for they are code, and a store may be shared."""
        return cache_folder() / "compiled"

    def drop_work(self, key: str) -> None:
        """The step is finished: its state can go."""
        shutil.rmtree(self.root / "work" / key, ignore_errors=True)

    def unfinished(self) -> list[str]:
        """Keys of steps that have a work folder."""
        return [path.name for path in sorted((self.root / "work").glob("*"))]

    @contextlib.contextmanager
    def alone(self, key: str, waiting: Callable[[float], None]) -> Iterator[bool]:
        """Run the block while no other process that shares the store works under this key.

        Args:
            key: of the step.
            waiting: told about every second or two for how long this one has waited; may raise to give up.

        Yields:
            Whether it had to wait for another.
        """
        with alone(self.root / "locks" / f"{key}.lock", waiting) as here:
            if self._remote is None:
                yield here
                return
            with lease(self._remote, f"locks/{key}.json", waiting) as there:
                yield here or there

    def hold(self) -> None:
        """Let this process be known as a user of the store until it ends: `store gc` waits for it.

        What killed users left half-written is removed.

        Raises:
            StoreError: the folder cannot be written.
        """
        living = enter(self.root / "locks")
        for path in () if living is None else list(self.leftovers(living)):
            remove(path)

    def leftovers(self, living: frozenset[int] = frozenset()) -> Iterator[Path]:
        """What was half-written by processes that were killed; `living` are known not to be."""
        for folder in OWN_FOLDERS:
            yield from leftovers(self.root / folder, living=living)

    @contextlib.contextmanager
    def unused(self) -> Iterator[None]:
        """Run the block while no process uses the store.

        Raises:
            StoreError: some do.
        """
        with nobody_else(self.root / "locks"):
            yield


def cache_folder() -> Path:
    """Where this user keeps what may be removed at any time: HEADCANON_CACHE, or ~/.cache/headcanon."""
    return Path(os.environ.get("HEADCANON_CACHE", "~/.cache/headcanon")).expanduser()


def open_store(place: str, *, forgetful: bool = False) -> Store:
    """The store at a place: a folder, or a URL such as s3://bucket/studio with a folder of this machine before it.

    That folder is in HEADCANON_CACHE, or ~/.cache/headcanon; it may be removed at any time.

    Raises:
        StoreError: the URL's kind is not known, or what speaks to it is not installed.
    """
    if "://" not in place:
        return Store(Path(place), forgetful=forgetful)
    return Store(cache_folder() / digest_of(place.encode())[:16], forgetful=forgetful, remote=_connect(place))


@functools.cache
def _connect(place: str) -> Remote:
    """One for the process: it remembers what it has seen there."""
    return Remote(place)
