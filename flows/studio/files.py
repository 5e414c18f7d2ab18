"""Files that go in and out through the page: screenshots into a character's folder, results and pictures out of it."""

import itertools
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from time import time

from flows.inbox import File, walk
from flows.place import CHARACTERS, PRESETS, AllowedFolders
from flows.request import recipe_of
from lora_core.errors import DatasetError, UserError
from lora_core.images.decode import LARGEST_BYTES, header_of
from lora_core.images.kinds import MEANT_BY, may_be_picture
from lora_core.printable import printable, printable_name
from lora_core.store.digests import file_digest
from lora_core.store.files import replacing

REMOVED = ".removed"
"""Screenshots that were taken away on the page; hidden, so no run reads it."""
_LONGEST_PART = 200
_MOST_LOOKED_AT = 20_000
_LATELY_SECONDS = 30


class NoSuchFileError(UserError):
    """A file that is not there, or not the page's to show."""


def character_folder(place: AllowedFolders, name: str) -> Path:
    """The folder of a character that is there.

    Raises:
        NoSuchFileError: there is none of that name.
    """
    folder = next((one for one in place.characters if one.name == name), None)
    if folder is None:
        raise NoSuchFileError(f"{printable_name(name)}: there is no such character in {CHARACTERS}/")
    return folder


def pictures_folder(place: AllowedFolders, name: str) -> Path:
    """Where a character's screenshots lie: in its own folder, unless its recipe names another one.

    Raises:
        NoSuchFileError: there is no such character.
    """
    own = character_folder(place, name)
    try:
        return Path(recipe_of(place, name).character.images)
    except UserError:  # which the page says elsewhere
        return own


def source_folders(place: AllowedFolders) -> Iterator[str]:
    """Folders with pictures in them that a character may take them from, as far as they are not deep below."""
    taken = [place.folder / CHARACTERS, place.folder / PRESETS, Path(place.out), Path(place.store)]
    near = ((root, path) for root in place.roots for depth in ("*/*", "*/*/*") for path in sorted(root.glob(depth)))
    for root, path in itertools.islice(near, _MOST_LOOKED_AT):
        if may_be_picture(path) and _is_shown(path, root) and not any(path.is_relative_to(each) for each in taken):
            yield str(path.parent)


def inside(folder: Path, path: str) -> Path:
    """A file in a folder, by its path below it.

    Raises:
        NoSuchFileError: it is not there, hidden, or leads out.
    """
    if "\\" not in path and "\0" not in path:
        found = (folder / path).resolve()
        if found.is_relative_to(folder.resolve()) and _is_shown(folder / path, folder):
            return found
    raise NoSuchFileError(f"{printable_name(path)}: there is no such file")


def take_upload(folder: Path, path: str, pieces: Iterable[bytes]) -> None:
    """Write a dropped screenshot, once all of it is there and its header is a picture's.

    Args:
        folder: of the character.
        path: its own name, below a sub-folder if a folder was dropped.
        pieces: what it holds.

    Raises:
        DatasetError: the name cannot be a screenshot's, leads out of the folder, or is another picture's.
        ImageError: not a picture, or too large.
        StoreError: the disk is full or the folder cannot be written.
    """
    target = _upload_target(folder, path)
    with replacing(target) as temporary:
        with temporary.open("xb") as opened:
            for piece in pieces:
                if opened.tell() + len(piece) > LARGEST_BYTES:
                    raise DatasetError(f"{path}: more than {LARGEST_BYTES // 10**6} MB; make it smaller")
                opened.write(piece)
        header_of(temporary, path)
        if target.exists() and file_digest(target) != file_digest(temporary):
            raise DatasetError(f"{path}: another picture has that name here; remove that one first, or rename this one")


def _upload_target(folder: Path, path: str) -> Path:
    shown, parts = printable_name(path), path.split("/")
    if any(not part or part.startswith(".") or len(part) > _LONGEST_PART or "\\" in part for part in parts):
        raise DatasetError(f"{shown}: not a name that a screenshot can have here; rename it")
    if printable(path) != path or Path(path).suffix.lower() not in MEANT_BY:
        raise DatasetError(f"{shown}: not a picture by its name; allowed: {', '.join(MEANT_BY)}")
    target = folder.joinpath(*parts)
    if not target.parent.resolve().is_relative_to(folder.resolve()) or target.is_symlink():
        raise DatasetError(f"{shown}: leads out of {folder.name}")
    return target


def remove_picture(folder: Path, path: str) -> None:
    """Take a screenshot out of the set, into a hidden folder beside it: nothing is lost by a slip."""
    picture, aside = inside(folder, path), folder / REMOVED
    aside.mkdir(exist_ok=True)
    names = (f"{picture.stem}{f'-{one}' if one > 1 else ''}{picture.suffix}" for one in itertools.count(1))
    picture.rename(next(aside / name for name in names if not (aside / name).exists()))


def screenshots(folder: Path) -> tuple[File, ...]:
    """A character's screenshots, as far as their names say, as at most half a minute ago: a page asks often."""
    return _listed(folder, folder.stat().st_mtime_ns if folder.is_dir() else 0, int(time() // _LATELY_SECONDS))


@lru_cache(maxsize=1000)
def _listed(folder: Path, _modified_ns: int, _moment: int) -> tuple[File, ...]:
    """Something that came or went in the folder shows at once; what changed in place, or further down, with time."""
    try:
        return tuple(sorted(file for file in walk(str(folder)) if may_be_picture(PurePosixPath(file.path))))
    except OSError:  # which a run says
        return ()


def _is_shown(path: Path, folder: Path) -> bool:
    """Whether a file of a folder is for people: nothing on the way to it is hidden."""
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
