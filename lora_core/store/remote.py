"""The far side of a store: an S3 bucket, or any other place that fsspec reaches, behind each worker's own folder.

A name there is written whole or not at all (S3 puts are atomic), and what a name holds never changes, so workers need
not agree on anything but the names. The one exception is a lease, below.
"""

import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lora_core.errors import StoreError

BEAT_SECONDS = 10.0
# A lease whose holder has been silent for so long is taken over; so is that of a worker that was killed.
SILENT_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 2.0
_SETTLE_SECONDS = 5.0


class Remote:
    """A folder elsewhere, by URL; credentials come from the environment, as every S3 client reads them."""

    def __init__(self, url: str) -> None:
        """Connect.

        Raises:
            StoreError: the URL's kind is not known, or what speaks to it is not installed.
        """
        import fsspec

        self.url = url.rstrip("/")
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{url}: {error}; for s3:// install headcanon[s3]") from error
        self._there: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether there is something of that name."""
        if name in self._there:
            return True
        with self._told():
            found = bool(self._files.exists(self._at(name)))
        if found:
            self._there.add(name)
        return found

    def share(self, name: str, path: Path) -> None:
        """Copy a file there, if nothing of that name is."""
        if not self.has(name):
            with self._told():
                self._files.put_file(str(path), self._at(name))
            self._there.add(name)

    def fetch(self, name: str, path: Path) -> bool:
        """Copy what is there into a file; False if nothing is."""
        with self._told():
            try:
                self._files.get_file(self._at(name), str(path))
            except FileNotFoundError:
                return False
        self._there.add(name)
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write a few bytes, over what is there."""
        with self._told():
            self._files.pipe_file(self._at(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a few bytes if nothing of that name is there; False if something is. Of two at once, one succeeds."""
        with self._told():
            try:
                self._files.pipe_file(self._at(name), data, mode="create")
            except FileExistsError:
                return False
        return True

    def read(self, name: str, largest_bytes: int = 0) -> bytes | None:
        """A few bytes, or None if nothing of that name is there, or something larger than that (0: whatever it is)."""
        with self._told():
            try:
                if largest_bytes and self._files.size(self._at(name)) > largest_bytes:
                    return None
                data: bytes = self._files.cat_file(self._at(name))
            except FileNotFoundError:
                return None
        return data

    def remove(self, name: str) -> None:
        """Remove what is there."""
        with self._told(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))
        self._there.discard(name)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise StoreError(f"{self.url}: not allowed ({error}); check the credentials in the environment") from error
        except OSError as error:
            raise StoreError(f"{self.url}: cannot be reached ({error}); run the same command again") from error


@contextlib.contextmanager
def lease(
    remote: Remote, name: str, waiting: Callable[[float], None], silent: float = SILENT_SECONDS
) -> Iterator[bool]:
    """Run the block while no other worker runs it under the same name, as `lease.alone` does on one file system.

    The holder says every few seconds that it lives. One that was killed is waited for, once, for a minute. One that
    lives but was cut off for so long may find another at the same work: both come to the same bytes.

    Args:
        remote: where all of them look.
        name: of the lease.
        waiting: told every few seconds for how long this one has waited; may raise to give up.
        silent: how long a holder may be silent, in seconds.

    Yields:
        Whether it had to wait for another.
    """
    owner, ended = uuid.uuid4().hex, threading.Event()
    waited = _take(remote, name, owner, waiting, silent)
    beats = threading.Thread(
        target=_beat, args=(remote, name, owner, ended, min(BEAT_SECONDS, silent / 4)), daemon=True
    )
    beats.start()
    try:
        yield waited
    finally:
        ended.set()
        beats.join()
        if _owner(remote.read(name)) == owner:
            remote.remove(name)


def _take(remote: Remote, name: str, owner: str, waiting: Callable[[float], None], silent: float) -> bool:
    pause = threading.Event()
    seen, since, waited = b"", 0.0, 0.0
    look_every = min(_LOOK_EVERY_SECONDS, silent / 8)
    while not remote.create(name, _claim(owner, 0)):
        pause.wait(look_every)
        waited += look_every
        waiting(waited)
        now = remote.read(name) or b""
        if now != seen:
            seen, since = now, waited
        elif waited - since >= silent:
            # Whoever writes last has it: all who try see the same after a moment.
            remote.write(name, _claim(owner, 0))
            pause.wait(min(_SETTLE_SECONDS, silent / 4))
            if _owner(remote.read(name)) == owner:
                return True
            seen = b""
    return waited > 0


def _beat(remote: Remote, name: str, owner: str, ended: threading.Event, every: float) -> None:
    number = 0
    while not ended.wait(every):
        number += 1
        with contextlib.suppress(StoreError):  # a beat that does not arrive costs nothing yet
            if _owner(remote.read(name)) == owner:
                remote.write(name, _claim(owner, number))


def _claim(owner: str, beat: int) -> bytes:
    return json.dumps({"owner": owner, "beat": beat}).encode()


def _owner(data: bytes | None) -> str:
    try:
        claim: Any = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return ""
    return str(claim.get("owner", "")) if isinstance(claim, dict) else ""
