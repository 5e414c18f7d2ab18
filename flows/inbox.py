"""What a watched folder holds, how long it has rested, and what of it was worked on: no Prefect in here."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from flows.place import character_folders
from lora_core.digests import canonical_json, digest_of
from lora_core.disk import write_atomically
from lora_core.images.decode import EXTENSIONS
from lora_core.store import Store

MEMORY = "inbox.json"
# Besides pictures: what says how they are to be read and captioned.
_SAYS_HOW = (".toml", ".csv")
_COUNTS = (*EXTENSIONS, *_SAYS_HOW)


class File(NamedTuple):
    """A file as the disk lists it."""

    path: str
    size_bytes: int
    modified_ns: int


class Known(BaseModel):
    """What is remembered of a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    look: str = ""
    since: float = 0.0
    content: str = ""
    runs: int = 0


class Change(NamedTuple):
    """A folder whose content is new and has rested."""

    character: str
    content: str
    number: int
    pictures: int

    @property
    def key(self) -> str:
        """The same for the same change, however often it is seen; another when a folder goes back to what it was."""
        return f"inbox:{self.character}:{self.number}:{self.content}"


class Inbox:
    """The folders of characters, and a memory of them in a file."""

    def __init__(self, folder: Path, store: Store, memory: Path) -> None:
        self._folder, self._store, self._memory = folder, store, memory
        self._known = _read(self._memory)

    def changes(self, quiet_seconds: float, now: float) -> Iterator[Change]:
        """Folders whose content differs from what was last worked on and has been at rest.

        Rest is counted between two looks and not by the files' own times, which a copy may keep from years ago.

        Args:
            quiet_seconds: how long nothing may have changed.
            now: seconds since the epoch.
        """
        for folder in character_folders(self._folder):
            found = sorted(_walk(str(folder)))
            known = self._known.get(folder.name, Known())
            look = digest_of(canonical_json([list(file) for file in found]))
            if look != known.look:
                known = known.model_copy(update={"look": look, "since": now})
                self._remember(folder.name, known)
            if now - known.since < quiet_seconds or known.since == _SETTLED:
                continue
            content = self._content(folder, found)
            pictures = sum(Path(file.path).suffix.lower() in EXTENSIONS for file in found)
            if content == known.content or not pictures:
                self._remember(folder.name, known.model_copy(update={"since": _SETTLED}))
            else:
                yield Change(folder.name, content, known.runs + 1, pictures)

    def done(self, change: Change) -> None:
        """Remember that work on a change has been started."""
        known = self._known[change.character]
        update = {"content": change.content, "runs": change.number, "since": _SETTLED}
        self._remember(change.character, known.model_copy(update=update))

    def _remember(self, character: str, known: Known) -> None:
        self._known[character] = known
        all_known = {name: one.model_dump(mode="json") for name, one in self._known.items()}
        write_atomically(self._memory, canonical_json(all_known))

    def _content(self, folder: Path, found: list[File]) -> str:
        """What the files hold, wherever they were touched; files that are read once are not read again."""
        return digest_of(
            canonical_json([[file.path, self._store.digest_of_file(folder / file.path)] for file in found])
        )


# `since` of a folder that has nothing new: the next look at it is one listing and no reading.
_SETTLED = -1.0


def _read(memory: Path) -> dict[str, Known]:
    try:
        data = json.loads(memory.read_bytes())
        return {name: Known.model_validate(one) for name, one in data.items()}
    except (OSError, ValueError):
        return {}  # the worst that comes of it is a run that finds everything finished


def _walk(folder: str, within: str = "") -> Iterator[File]:
    """Pictures and what says how to read them; hidden files, links and the rest do not count.

    Plain texts instead of `Path`s: there may be 50,000 files, every few minutes.
    """
    with os.scandir(folder) as listing:
        for entry in listing:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{within}{entry.name}/")
            elif entry.name.lower().endswith(_COUNTS):
                stat = entry.stat()
                yield File(within + entry.name, stat.st_size, stat.st_mtime_ns)
