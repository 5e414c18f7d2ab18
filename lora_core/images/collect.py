"""From a folder of screenshots to a manifest that accounts for every file in it."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lora_core.dataset import Entry, Manifest, Rejected
from lora_core.errors import DatasetError, ImageError
from lora_core.images.composition import LIST_NAME, composition_of, read_list
from lora_core.images.decode import EXTENSIONS, size_of
from lora_core.recipe import Composition
from lora_core.store import Store, canonical_json, digest_of

REPORT_NAME = "report.json"
# Written by this project's own commands into folders of pictures.
_OURS = (LIST_NAME, REPORT_NAME)
# Raised when another file counts as a picture.
_SIZE_VERSION = 1
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")


def collect(store: Store, folder: Path) -> Manifest:
    """Every picture of a folder and its sub-folders, in the order of their paths; the folder is never written to.

    An entry's `image` is the source file's own bytes. Every file that is not an entry is in `rejected` with a reason;
    only the project's own composition.csv and report.json, and a caption `.txt` beside its picture, are neither.

    Raises:
        DatasetError: no such folder, no picture in it that can be read, or a composition.csv that makes no sense.
    """
    paths, rejected = list_pictures(folder)
    listed = read_list(folder)
    entries: list[Entry] = []
    sources: dict[str, str] = {}
    taken: dict[str, str] = {}
    names = _names([str(path) for path in paths])
    for path in paths:
        source = str(path)
        found = _entry(store, folder, source, names[source], listed)
        twin = sources.get(found.image) if isinstance(found, Entry) else None
        if isinstance(found, Rejected):
            rejected.append(found)
        elif _folded(found.name) in taken:
            reason = f"has the same name as {taken[_folded(found.name)]}; rename one of them"
            rejected.append(Rejected(source=source, reason=reason))
        elif twin is not None:
            reason = f"the same file as {twin}, byte for byte"
            rejected.append(Rejected(source=source, reason=reason, harmless=True))
        else:
            entries.append(found)
            sources[found.image] = taken[_folded(found.name)] = source
    rejected += _not_there(listed, {str(path) for path in paths})
    rejected.sort(key=lambda one: one.source)
    if not entries:
        raise DatasetError(_nothing_in(folder, rejected))
    return Manifest(entries=tuple(entries), rejected=tuple(rejected))


def list_pictures(folder: Path) -> tuple[list[PurePosixPath], list[Rejected]]:
    """Paths below a folder that may be pictures, by their names alone, and the other files with a reason.

    Raises:
        DatasetError: no such folder, or no file in it that may be a picture.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; name a folder with screenshots")
    paths, rejected = _pictures(folder)
    if not paths:
        raise DatasetError(_nothing_in(folder, rejected))
    return paths, rejected


def refuse_bad_pictures(manifest: Manifest) -> None:
    """Stop at files that should have been used and could not be.

    Raises:
        DatasetError: naming the first of them, and how many there are.
    """
    bad = [one for one in manifest.rejected if not one.harmless]
    if bad:
        more = f" ({len(bad)} such files)" if len(bad) > 1 else ""
        raise DatasetError(
            f"{bad[0].source}: {bad[0].reason}{more}; mend or remove it, or set preprocess.bad_pictures = 'leave_out'"
        )


def nothing_left(where: str, rejected: tuple[Rejected, ...] | list[Rejected]) -> str:
    """One line that says why a set is empty, with the first few reasons."""
    some = "; ".join(f"{one.source}: {one.reason}" for one in rejected[:3])
    more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
    return f"{where}: no picture that can be used; {some}{more}"


def _nothing_in(folder: Path, rejected: list[Rejected]) -> str:
    if rejected:
        return nothing_left(str(folder), rejected)
    return f"{folder}: an empty folder; put screenshots into it ({', '.join(EXTENSIONS)})"


def _pictures(folder: Path) -> tuple[list[PurePosixPath], list[Rejected]]:
    """Paths below the folder that may be pictures, and the others with a reason."""
    found: list[PurePosixPath] = []
    rejected: list[Rejected] = []
    every = sorted(_walk(folder), key=str)
    stems = {str(path.with_suffix("")) for path in every if path.suffix.lower() in EXTENSIONS}
    for path in every:
        if str(path) in _OURS or (path.suffix.lower() == ".txt" and str(path.with_suffix("")) in stems):
            continue
        if reason := _why_not_meant(path):
            rejected.append(Rejected(source=str(path), reason=reason, harmless=True))
        elif reason := _why_not(folder, path):
            rejected.append(Rejected(source=str(path), reason=reason))
        else:
            found.append(path)
    return found, rejected


def _walk(folder: Path) -> Iterator[PurePosixPath]:
    """Files, links to folders and unreadable folders, relative to `folder`."""
    unreadable: list[OSError] = []
    for root, folders, files in os.walk(folder, onerror=unreadable.append):
        here = Path(root)
        linked = [name for name in folders if (here / name).is_symlink()]
        for name in [*files, *linked]:
            yield PurePosixPath((here / name).relative_to(folder).as_posix())
    for error in unreadable:
        yield PurePosixPath(Path(error.filename).relative_to(folder).as_posix())


def _why_not_meant(path: PurePosixPath) -> str:
    """Why a file is not meant to be a picture, going by its name; empty if it may be."""
    if path.name.lower() in _SYSTEM_FILES or any(part.startswith(".") for part in path.parts):
        return "a hidden or system file, not a picture"
    if path.suffix.lower() not in EXTENSIONS:
        return f"not a picture by its name; pictures end in {', '.join(EXTENSIONS)}"
    return ""


def _why_not(folder: Path, path: PurePosixPath) -> str:
    """Why a file that is called a picture is no candidate; empty if it is one."""
    whole = folder / path
    if whole.is_symlink() and not whole.resolve().is_relative_to(folder.resolve()):
        return "a link to a place outside the folder; copy the file here instead"
    if not whole.exists():
        return "a link to a file that does not exist"
    if whole.is_dir():
        return "a folder that is a link, or one that may not be read"
    if not whole.is_file():
        return "not a regular file"
    return ""


def _entry(store: Store, folder: Path, source: str, name: str, listed: dict[str, Composition]) -> Entry | Rejected:
    path = folder / source
    try:
        sha256 = store.digest_of_file(path)
        if not store.has(sha256):
            sha256 = store.put_file(path)
        size = _size(store, sha256, source)
    except OSError as error:
        return Rejected(source=source, reason=f"cannot be read ({error.strerror})")
    if isinstance(size, str):
        return Rejected(source=source, reason=size)
    width, height = size
    composition, note = composition_of(source, listed)
    return Entry(
        name=name, source=source, image=sha256, width=width, height=height, composition=composition, notes=(note,)
    )


def _size(store: Store, sha256: str, source: str) -> tuple[int, int] | str:
    """Width and height in pixels, or why the bytes are no picture; remembered, so that no file is read twice."""
    key = digest_of(canonical_json(["picture size", _SIZE_VERSION, sha256]))
    known = store.record(key)
    if known is None:
        try:
            known = size_of(store.get_bytes(sha256), source)
        except ImageError as error:
            known = str(error).removeprefix(f"{source}: ")
        store.set_record(key, known)
    return known if isinstance(known, str) else (int(known[0]), int(known[1]))


def _names(sources: list[str]) -> dict[str, str]:
    """A name for each: its stem, or with its folders in front where several folders use that stem.

    Compared as file systems that ignore case do, so that a set can be written out anywhere.
    """
    stems = {source: PurePosixPath(source).stem for source in sources}
    homes: Counter[str] = Counter()
    for _, stem in {(str(PurePosixPath(source).parent), _folded(stem)) for source, stem in stems.items()}:
        homes[stem] += 1
    names = {}
    for source, stem in stems.items():
        folders = PurePosixPath(source).parent.parts
        names[source] = "-".join((*folders, stem)) if homes[_folded(stem)] > 1 else stem
    return names


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _not_there(listed: dict[str, Composition], sources: set[str]) -> list[Rejected]:
    return [
        Rejected(source=source, reason=f"named in {LIST_NAME}, but there is no such picture")
        for source in sorted(set(listed) - sources)
    ]
