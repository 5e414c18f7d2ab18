"""Bytes under their digest: in the store, beside it where the user keeps them, or on the far side."""

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lora_core.errors import DamagedError, StoreError
from lora_core.progress import Progress, silent
from lora_core.refs import Digest
from lora_core.store.digests import canonical_json, copy_file, digest_of, file_digest
from lora_core.store.files import (
    file_fact,
    is_file,
    is_sound,
    move,
    read_steadily,
    replacing,
    seen_sound,
    sync,
    temporary_name,
    write_atomically,
)
from lora_core.store.records import Records, mark_used, read_record, sealed


class Objects(Records):
    """The bytes of a store."""

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
            move(incoming, path)
        self._share(path)
        return sha256

    def take_file(self, source: Path) -> str:
        """Move a file of ours into the store, on the same disk: large results are not written twice."""
        sha256 = file_digest(source)
        sync(source)
        path = self._object(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        move(source, path)
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
        path = self.find(sha256)
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
        path = self.find(sha256)
        data = path.read_bytes()
        self._check(path, sha256, digest_of(data))
        return data

    def get_json(self, sha256: str) -> Any:
        """The value under a digest."""
        return json.loads(self.get_bytes(sha256))

    def has(self, sha256: str) -> bool:
        """Whether the bytes are there."""
        if self.where(sha256) is not None:
            return True
        return self._remote is not None and self._remote.has(self._name(self._object(sha256)))

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

    def digest_of_file(self, path: Path, progress: Progress = silent) -> str:
        """SHA-256 of a file, remembered by path, size, inode and times of modification and change.

        Raises:
            StoreError: the file is written to all the time.
        """
        return self._digest_and_fact(path.absolute(), progress)[0]

    def unread_bytes(self, paths: Iterable[Path]) -> int:
        """Of files whose digest is not known yet, so that `refer` and `digest_of_file` read them whole."""
        facts = (file_fact(path.absolute()) for path in paths)
        return sum(
            int(fact["size"]) for fact in facts if self.forgetful or self._own_record(_fact_key(fact), Digest) is None
        )

    def _digest_and_fact(self, path: Path, progress: Progress = silent) -> tuple[str, dict[str, Any]]:
        fact = file_fact(path)
        known = None if self.forgetful else self._own_record(_fact_key(fact), Digest)
        if known is not None:
            return known, fact
        sha256, fact = read_steadily(path, lambda: file_digest(path, progress))
        if file_fact(path) == fact:
            seen_sound(path, sha256)
        # Of this machine's file: nothing to share.
        write_atomically(self._record(_fact_key(fact)), sealed(_fact_key(fact), sha256))
        return sha256, fact

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

    def find(self, sha256: str) -> Path:
        """Where the bytes should be, unread.

        Raises:
            StoreError: they are gone.
        """
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
        move(incoming, path)
        return path

    def _object(self, sha256: str) -> Path:
        return self.root / "objects" / sha256[:2] / sha256

    def _elsewhere(self, sha256: str) -> Path:
        return self.root / "elsewhere" / sha256[:2] / f"{sha256}.json"


def _fact_key(fact: Mapping[str, Any]) -> str:
    return digest_of(canonical_json(["digest_of_file", fact]))
