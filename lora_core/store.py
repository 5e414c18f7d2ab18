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
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lora_core import users
from lora_core.digests import canonical_json, copy_file, digest_of, digests_in, file_digest
from lora_core.disk import is_file, leftovers, remove, replacing, sync, temporary_name, write_atomically
from lora_core.errors import DamagedError, StoreError
from lora_core.lease import alone
from lora_core.records import LARGEST_BYTES, mark_used, read_record, sealed, unsealed
from lora_core.refs import Digest, Ref
from lora_core.remote import Remote, lease
from lora_core.sound import is_sound, seen_sound
from lora_core.steady import file_fact, read_steadily

T = TypeVar("T")

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
        if not is_file(path):
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
        if is_file(path):
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
        seen_sound(path, sha256)
        self._share(path)
        return sha256

    def refer(self, source: Path) -> str:
        """Know a large file without copying it. When the user changes or moves it, `has` turns false."""
        sha256, fact = self._digest_and_fact(source.absolute())
        pointer = self._elsewhere(sha256)
        if read_record(pointer, sha256) == fact:
            mark_used(pointer)
        else:
            write_atomically(pointer, sealed(sha256, fact))
        return sha256

    def put_json(self, value: Any) -> str:
        """Keep a value as canonical JSON."""
        return self.put_bytes(canonical_json(value))

    def path(self, sha256: str) -> Path:
        """Where the bytes are, for reading only. They are checked once in a process.

        Raises:
            StoreError: they are gone.
            DamagedError: they were damaged; they are gone now.
        """
        path = self._find(sha256)
        if not is_sound(path, sha256):
            self._check(path, sha256, file_digest(path))
            seen_sound(path, sha256)
        return path

    def get_bytes(self, sha256: str) -> bytes:
        """The bytes under a digest, checked.

        Raises:
            StoreError: they are gone.
            DamagedError: they were damaged; they are gone now.
        """
        path = self._find(sha256)
        data = path.read_bytes()
        self._check(path, sha256, digest_of(data))
        return data

    def _check(self, path: Path, sha256: str, found: str) -> None:
        """Forget bytes that are not those of their digest; a file of the user's stays where it is.

        Raises:
            DamagedError: they are not.
        """
        if found == sha256:
            return
        if path == self._object(sha256):
            path.unlink(missing_ok=True)
            raise DamagedError(f"{path}: was damaged on disk, and is removed; the same command makes it again")
        self._elsewhere(sha256).unlink(missing_ok=True)
        self._record(_fact_key(file_fact(path))).unlink(missing_ok=True)
        raise DamagedError(f"{path}: holds other bytes than it is known by; the same command reads it anew")

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
        except StoreError:
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
        """SHA-256 of a file, remembered by path, size, inode and times of modification and change.

        Raises:
            StoreError: the file is written to all the time.
        """
        return self._digest_and_fact(path.absolute())[0]

    def _digest_and_fact(self, path: Path) -> tuple[str, dict[str, Any]]:
        fact = file_fact(path)
        known = None if self.forgetful else self._own_record(_fact_key(fact), Digest)
        if known is not None:
            return known, fact
        sha256, fact = read_steadily(path, lambda: file_digest(path))
        if file_fact(path) == fact:
            seen_sound(path, sha256)
        # Of this machine's file: nothing to share.
        write_atomically(self._record(_fact_key(fact)), sealed(_fact_key(fact), sha256))
        return sha256, fact

    # ── records by key ───────────────────────────────────────────────────────────────────────────────────────────

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
        living = users.enter(self.root / "locks")
        for path in () if living is None else list(self.leftovers(living)):
            remove(path)

    # ── housekeeping ─────────────────────────────────────────────────────────────────────────────────────────────

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
        with users.nobody_else(self.root / "locks"):
            yield

    def _find(self, sha256: str) -> Path:
        path = self.where(sha256) or self._fetch(sha256)
        if path is None:
            raise StoreError(f"{self.root}: the bytes {sha256[:12]}… are gone; run the same command again to make them")
        return path

    def _incoming(self) -> Path:
        """A name of its own for bytes whose digest is not known yet."""
        return temporary_name(self.root / "objects" / f"incoming-{threading.get_ident()}")

    def _share(self, path: Path) -> None:
        if self._remote is not None:
            self._remote.share(self._name(path), path)

    def _fetch(self, sha256: str) -> Path | None:
        """Bring bytes from the far side.

        Raises:
            DamagedError: they are wrong; they are removed there, so that they are made again.
        """
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
            raise DamagedError(f"{self._remote.url}: {self._name(path)} was damaged there, and is removed")
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming.replace(path)
        return path

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _record(self, key: str) -> Path:
        return self.root / "records" / key[:2] / f"{key}.json"

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

    def _object(self, sha256: str) -> Path:
        return self.root / "objects" / sha256[:2] / sha256

    def _elsewhere(self, sha256: str) -> Path:
        return self.root / "elsewhere" / sha256[:2] / f"{sha256}.json"

    def where(self, sha256: str) -> Path | None:
        """The file that holds the bytes on this machine, or None."""
        if is_file(path := self._object(sha256)):
            return path
        return self.pointed(sha256)

    def pointed(self, sha256: str) -> Path | None:
        """The user's file that is known to hold the bytes, as long as it is what it was; or None."""
        fact = read_record(self._elsewhere(sha256), sha256)
        try:
            path = Path(fact["path"])  # type: ignore[index]  # whatever is there instead is no fact
            return path if path.is_file() and file_fact(path) == fact else None
        except (OSError, LookupError, TypeError, ValueError):
            return None


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


def _fact_key(fact: Mapping[str, Any]) -> str:
    return digest_of(canonical_json(["digest_of_file", fact]))


@functools.cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)
