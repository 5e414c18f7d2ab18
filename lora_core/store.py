"""The disk door: bytes named by their SHA-256, and small records named by the key of the step that made them.

::

    objects/ab/ab12…          bytes, never changed, never overwritten
    elsewhere/ab/ab12….json   large files that stay where the user keeps them (base models), by path
    records/ab/ab12….json     what a piece of work came to, by its key (one picture, one file's digest …)
    results/                  Prefect's records of finished tasks
    work/ab12…/               the state of a step that is not finished
    curves/momo-ab12…/        a training's figures, step by step
    compiled/                 kernels that torch.compile made for this machine's GPU
    locks/ab12….lock          held while somebody works on that step

Everything is written to a temporary name in the same folder, synced and renamed: a name's presence means success.
Bytes are checked against their name before they are used. Damaged ones are removed, so that they are made again.

A store may have a far side (`remote.py`): objects and records are copied there and fetched from there when they are
missing here, so that workers with disks of their own share what they compute.
"""

import contextlib
import functools
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lora_core.digests import canonical_json, copy_file, digest_of, digests_in, file_digest
from lora_core.disk import replacing, sync, write_atomically
from lora_core.errors import DamagedError, StoreError
from lora_core.lease import alone
from lora_core.refs import Digest, Ref
from lora_core.remote import Remote, lease
from lora_core.sound import is_sound, remove_damaged, seen_sound
from lora_core.steady import file_fact, read_steadily


class TreeFile(BaseModel):
    """One file of a tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Digest
    size_bytes: int


class Tree(BaseModel):
    """Named files: a folder, or a single file under its own name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: Mapping[str, TreeFile]


class Store:
    """A content-addressed folder.

    A `forgetful` store finds no records, so that work under it is done afresh; it still writes them.
    """

    def __init__(self, root: Path, *, forgetful: bool = False, remote: Remote | None = None) -> None:
        self.root = root.expanduser().absolute()
        self.forgetful = forgetful
        self._remote = remote

    # ── bytes by digest ──────────────────────────────────────────────────────────────────────────────────────────

    def put_bytes(self, data: bytes) -> str:
        """Keep bytes; returns their digest."""
        sha256 = digest_of(data)
        path = self._object(sha256)
        if not path.exists():
            write_atomically(path, data)
        self._share(path)
        return sha256

    def put_file(self, source: Path) -> str:
        """Keep a copy of a file; returns its digest.

        Raises:
            StoreError: the file is written to all the time, or the store's disk is full.
        """
        incoming = self._incoming()
        with replacing(incoming) as temporary:
            sha256, _ = read_steadily(source, lambda: copy_file(source, temporary))
        path = self._object(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            incoming.unlink()
        else:
            incoming.replace(path)
        self._share(path)
        return sha256

    def take_file(self, source: Path) -> str:
        """Move a file of ours into the store, on the same disk: large results are not written twice."""
        sha256 = file_digest(source)
        sync(source)
        path = self._object(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        source.replace(path)
        seen_sound(path)
        self._share(path)
        return sha256

    def refer(self, source: Path) -> str:
        """Know a large file without copying it. When the user changes or moves it, `has` turns false."""
        sha256, fact = self._digest_and_fact(source.absolute())
        path = self._elsewhere(sha256)
        if not path.exists() or json.loads(path.read_bytes()) != fact:
            write_atomically(path, canonical_json(fact))
        return sha256

    def put_json(self, value: Any) -> str:
        """Keep a value as canonical JSON."""
        return self.put_bytes(canonical_json(value))

    def path(self, sha256: str) -> Path:
        """Where the bytes are, for reading only. Those of ours are checked once in a process.

        Raises:
            StoreError: they are gone.
            DamagedError: they were damaged; they are gone now.
        """
        path = self._find(sha256)
        if path == self._object(sha256) and not is_sound(path):
            remove_damaged(path, file_digest(path))
            seen_sound(path)
        return path

    def get_bytes(self, sha256: str) -> bytes:
        """The bytes under a digest, checked.

        Raises:
            StoreError: they are gone.
            DamagedError: they were damaged; they are gone now.
        """
        path = self._find(sha256)
        data = path.read_bytes()
        if path == self._object(sha256):
            remove_damaged(path, digest_of(data))
        elif digest_of(data) != sha256:
            raise StoreError(f"{path}: was changed while it was read; run the same command again")
        return data

    def get_json(self, sha256: str) -> Any:
        """The value under a digest."""
        return json.loads(self.get_bytes(sha256))

    def has(self, sha256: str) -> bool:
        """Whether the bytes are there."""
        if self.where(sha256) is not None:
            return True
        return self._remote is not None and self._remote.has(self._name(self._object(sha256)))

    def has_all(self, ref: Ref) -> bool:
        """Whether a ref can be read whole: its manifest, sound, and every digest the manifest names.

        Tags are whole by themselves: the pictures and the tagger they name were read, and are not needed again.
        """
        if not self.has(ref.sha256):
            return False
        try:
            manifest = self.path(ref.sha256)
        except DamagedError:
            return False
        return ref.kind == "tags" or all(self.has(sha256) for sha256 in digests_in(manifest))

    # ── trees ────────────────────────────────────────────────────────────────────────────────────────────────────

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

    def tree(self, sha256: str) -> dict[str, Path]:
        """The tree's files: name → path, for reading only."""
        tree = Tree.model_validate(self.get_json(sha256))
        return {name: self.path(file.sha256) for name, file in tree.files.items()}

    def digest_of_file(self, path: Path) -> str:
        """SHA-256 of a file, remembered by path, size, inode and modification time.

        Raises:
            StoreError: the file is written to all the time.
        """
        return self._digest_and_fact(path.absolute())[0]

    def _digest_and_fact(self, path: Path) -> tuple[str, dict[str, Any]]:
        fact = file_fact(path)
        known = None if self.forgetful else self._own_record(_fact_key(fact))
        if known is not None:
            return str(known), fact
        sha256, fact = read_steadily(path, lambda: file_digest(path))
        # Of this machine's file: nothing to share.
        write_atomically(self._record(_fact_key(fact)), canonical_json(sha256))
        return sha256, fact

    # ── records by key ───────────────────────────────────────────────────────────────────────────────────────────

    def record(self, key: str) -> Any | None:
        """What was recorded under a key, or None."""
        if self.forgetful:
            return None
        known = self._own_record(key)
        if known is None and self._remote is not None:
            data = self._remote.read(self._name(self._record(key)))
            if data is not None:
                write_atomically(self._record(key), data)
                known = self._own_record(key)
        return known

    def set_record(self, key: str, value: Any) -> None:
        """Record a value under a key."""
        data = canonical_json(value)
        write_atomically(self._record(key), data)
        if self._remote is not None:
            self._remote.write(self._name(self._record(key)), data)

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
        """Where compiled kernels are kept: of this machine, and no part of any result."""
        return self.root / "compiled"

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

    @property
    def results(self) -> Path:
        """Where Prefect keeps its records of finished tasks."""
        return self.root / "results"

    # ── housekeeping ─────────────────────────────────────────────────────────────────────────────────────────────

    def objects(self) -> Iterator[Path]:
        """Every object's file."""
        return (path for path in sorted((self.root / "objects").glob("??/*")) if not path.name.startswith("."))

    def _find(self, sha256: str) -> Path:
        path = self.where(sha256) or self._fetch(sha256)
        if path is None:
            raise StoreError(f"{self.root}: the bytes {sha256[:12]}… are gone; run the same command again to make them")
        return path

    def _incoming(self) -> Path:
        """A name of its own for bytes whose digest is not known yet."""
        return self.root / "objects" / f"incoming-{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"

    def _share(self, path: Path) -> None:
        if self._remote is not None:
            self._remote.share(self._name(path), path)

    def _fetch(self, sha256: str) -> Path | None:
        """Bring bytes from the far side; wrong ones are removed there, so that they are made again."""
        path = self._object(sha256)
        if self._remote is None or not self._remote.has(self._name(path)):
            return None
        incoming = self._incoming()
        with replacing(incoming) as temporary:
            if not self._remote.fetch(self._name(path), temporary):
                return None
        if file_digest(incoming) != sha256:
            incoming.unlink()
            self._remote.remove(self._name(path))
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming.replace(path)
        return path

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _record(self, key: str) -> Path:
        return self.root / "records" / key[:2] / f"{key}.json"

    def _own_record(self, key: str) -> Any | None:
        try:
            return json.loads(self._record(key).read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def _object(self, sha256: str) -> Path:
        return self.root / "objects" / sha256[:2] / sha256

    def _elsewhere(self, sha256: str) -> Path:
        return self.root / "elsewhere" / sha256[:2] / f"{sha256}.json"

    def where(self, sha256: str) -> Path | None:
        """The file that holds the bytes on this machine, or None."""
        if (path := self._object(sha256)).exists():
            return path
        try:
            fact = json.loads(self._elsewhere(sha256).read_bytes())
            path = Path(fact["path"])
            return path if file_fact(path) == fact else None
        except (FileNotFoundError, json.JSONDecodeError):
            return None


def open_store(place: str, *, forgetful: bool = False) -> Store:
    """The store at a place: a folder, or a URL such as s3://bucket/studio with a folder of this machine before it.

    That folder is in HEADCANON_CACHE, or ~/.cache/headcanon; it may be removed at any time.

    Raises:
        StoreError: the URL's kind is not known, or what speaks to it is not installed.
    """
    if "://" not in place:
        return Store(Path(place), forgetful=forgetful)
    cache = Path(os.environ.get("HEADCANON_CACHE", "~/.cache/headcanon")).expanduser()
    return Store(cache / digest_of(place.encode())[:16], forgetful=forgetful, remote=_connect(place))


@functools.cache
def _connect(place: str) -> Remote:
    """One for the process: it remembers what it has seen there."""
    return Remote(place)


def _fact_key(fact: Mapping[str, Any]) -> str:
    return digest_of(canonical_json(["digest_of_file", fact]))
