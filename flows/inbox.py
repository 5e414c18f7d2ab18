"""What a watched folder holds, how long it has rested, and what of it was worked on: no Prefect in here."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.place import character_folders, odd_folders
from lora_core.errors import UserError
from lora_core.images.kinds import MEANT_BY, may_be_picture
from lora_core.printable import printable_name
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.files import write_atomically

MEMORY = "inbox.json"
# Besides pictures: what says how they are to be read and captioned.
_SAYS_HOW = (".toml", ".csv")
_COUNTS = (*MEANT_BY, *_SAYS_HOW)


class File(NamedTuple):
    """A file as the disk lists it."""

    path: str
    size_bytes: int
    modified_ns: int


class Known(BaseModel):
    """What is remembered of a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    look: str = ""
    since: float = Field(default=0.0, ge=-1, allow_inf_nan=False)
    content: str = ""
    runs: int = Field(default=0, ge=0)
    refused: str = ""


class Change(NamedTuple):
    """A folder whose content is new and has rested."""

    character: str
    content: str
    number: int
    pictures: int
    touched: float
    """When something was last written or removed here, in seconds of the epoch, whatever a file's own time says."""

    @property
    def key(self) -> str:
        """The same for the same change, however often it is seen; another when a folder goes back to what it was."""
        return f"inbox:{self.character}:{self.number}:{self.content}"


class Inbox:
    """The folders of characters, and a memory of them in a file. Each folder is looked at on its own."""

    def __init__(self, folder: Path, store: Store, memory: Path, refusing: Callable[[str, str], None]) -> None:
        """Read the memory.

        Args:
            folder: of the characters' folders.
            store: remembers the digests of files.
            memory: the file.
            refusing: hears a folder's name and why nothing can be started for it, once for each change.
        """
        self._folder, self._store, self._memory, self._refusing = folder, store, memory, refusing
        self._known = _read(self._memory)

    def changes(self, quiet_seconds: float, now: float) -> Iterator[Change]:
        """Folders whose content differs from what was last worked on and has been at rest.

        Rest is counted between two looks and not by the files' own times, which a copy may keep from years ago.

        Args:
            quiet_seconds: how long nothing may have changed.
            now: seconds since the epoch.
        """
        self._refuse_odd()
        for folder in character_folders(self._folder):
            try:
                change = self._change(folder, quiet_seconds, now)
            except FileNotFoundError:
                continue  # it is changed at this moment; the next look sees what came of it
            except (OSError, ValueError, UserError) as error:
                self.refuse(folder.name, _why(folder, error))
                continue
            if change is not None:
                yield change

    def done(self, change: Change) -> None:
        """Remember that work on a change has been started."""
        self._remember(change.character, content=change.content, runs=change.number, since=_SETTLED, refused="")

    def refuse(self, character: str, why: str) -> None:
        """Tell why nothing can be started for a folder, unless that was told; the next look tries again."""
        if self._known.get(character, Known()).refused != why:
            self._refusing(printable_name(character.removeprefix(_ODD)), why)
            self._remember(character, refused=why)

    def _refuse_odd(self) -> None:
        odd = {_ODD + folder.name: folder.reason for folder in odd_folders(self._folder)}
        self._known = {name: one for name, one in self._known.items() if not name.startswith(_ODD) or name in odd}
        for name, why in odd.items():
            self.refuse(name, why)

    def _change(self, folder: Path, quiet_seconds: float, now: float) -> Change | None:
        found = sorted(walk(str(folder)))
        known = self._known.get(folder.name, Known())
        look = digest_of(canonical_json([[_text(file.path), *file[1:]] for file in found]))
        # A clock that was ahead and has been set right would have the folder wait until then.
        if look != known.look or now < known.since:
            known = self._remember(folder.name, look=look, since=now, refused="")
        if now - known.since < quiet_seconds or known.since == _SETTLED:
            return None
        content = self._content(folder, found)
        pictures = sum(may_be_picture(Path(file.path)) for file in found)
        if content == known.content or not pictures:
            self._remember(folder.name, since=_SETTLED, refused="")
            return None
        return Change(folder.name, content, known.runs + 1, pictures, _touched(folder, found))

    def _remember(self, character: str, **changes: str | float) -> Known:
        known = self._known.get(character, Known()).model_copy(update=changes)
        self._known[character] = known
        all_known = {name: one.model_dump(mode="json") for name, one in self._known.items()}
        write_atomically(self._memory, canonical_json(all_known))
        return known

    def _content(self, folder: Path, found: list[File]) -> str:
        """What the files hold, wherever they were touched; files that are read once are not read again."""
        return digest_of(canonical_json([[_text(file.path), self._digest(folder, file)] for file in found]))

    def _digest(self, folder: Path, file: File) -> str:
        """Of a file that no run reads, because of its name, what the disk says of it has to do."""
        if _text(file.path) != file.path:
            return f"{file.size_bytes} {file.modified_ns}"
        return self._store.digest_of_file(folder / file.path)


def refusals(memory: Path) -> dict[str, str]:
    """Name → why nothing can be started for its folder, as the last look found it."""
    return {name: known.refused for name, known in _read(memory).items() if known.refused}


# `since` of a folder that has nothing new: the next look at it is one listing and no reading.
_SETTLED = -1.0


# Before the name of a folder that cannot be a character's; no folder's own name holds it.
_ODD = "/"


def _read(memory: Path) -> dict[str, Known]:
    """What of the memory can be read; the worst that comes of the rest is a run that finds everything finished."""
    try:
        data = json.loads(memory.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    known: dict[str, Known] = {}
    for name, one in data.items() if isinstance(data, dict) else ():
        with contextlib.suppress(ValidationError):
            known[_text(name)] = Known.model_validate(one, strict=True)
    return known


def _text(name: str) -> str:
    """A name that JSON can hold: bytes that are not UTF-8 are escaped."""
    return name.encode(errors="backslashreplace").decode()


def _why(folder: Path, error: Exception) -> str:
    """One line about what the folder, or a file in it, does not allow."""
    if isinstance(error, OSError) and error.strerror:
        path = Path(error.filename) if isinstance(error.filename, str) else folder
        within = printable_name(str(path.relative_to(folder))) if path.is_relative_to(folder) else "."
        return f"{'the folder' if within == '.' else within} cannot be read: {error.strerror}"
    return " ".join(str(error).split())


def _touched(folder: Path, found: list[File]) -> float:
    folders = (path for path in folder.rglob("*") if path.is_dir())  # what was removed left its time there
    return max(path.stat().st_ctime for path in (folder, *folders, *(folder / file.path for file in found)))


def _counts(name: str) -> bool:
    return "." not in name or name.lower().endswith(_COUNTS)


def walk(folder: str) -> Iterator[File]:
    """Pictures and what says how to read them; hidden files, links, pipes, devices and the rest do not count.

    Plain texts instead of `Path`s: there may be 50,000 files, every few minutes.
    """
    waiting = [("", folder)]
    while waiting:
        within, path = waiting.pop()
        with os.scandir(path) as listing:
            for entry in listing:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{within}{entry.name}/", entry.path))
                elif _counts(entry.name) and entry.is_file(follow_symlinks=False):
                    stat = entry.stat(follow_symlinks=False)
                    yield File(within + entry.name, stat.st_size, stat.st_mtime_ns)
