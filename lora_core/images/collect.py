"""From a folder of screenshots to a manifest that accounts for every file in it."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from lora_core.dataset import Entry, Manifest, Rejected
from lora_core.errors import DatasetError, ImageError
from lora_core.images.composition import LIST_NAME, composition_of, read_list
from lora_core.images.decode import Header, check_bytes, header_of
from lora_core.images.kinds import HEAD_BYTES, MEANT_BY, NotUsed, extensions, not_its_name, why_not_used
from lora_core.images.parallel import in_parallel
from lora_core.printable import printable_name
from lora_core.recipe import Composition
from lora_core.store import Store
from lora_core.store.digests import digest_of
from lora_core.store.memo import memo_key

REPORT_NAME = "report.json"
SHEET_NAME = "sheets/accepted.png"
LEFT_OUT_SHEET_NAME = "sheets/left_out.png"
# Written by this project's own commands into folders of pictures.
_OURS = (LIST_NAME, REPORT_NAME, SHEET_NAME, LEFT_OUT_SHEET_NAME)
# Unicode's categories of control characters, line and paragraph ends.
_LOCKED = "a folder that may not be read; allow reading it, or move it away"
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")


def list_pictures(folder: Path) -> tuple[list[PurePosixPath], list[Rejected]]:
    """Paths below a folder that may be pictures, by their first bytes and names, and the other files with a reason.

    Raises:
        DatasetError: no such folder, or no file in it that may be a picture.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; name a folder with screenshots")
    found: list[PurePosixPath] = []
    rejected: list[Rejected] = []
    every = sorted(_walk(folder), key=str)
    stems = {str(path.with_suffix("")) for path in every if path.suffix.lower() in MEANT_BY}
    for path in every:
        if reason := _why_not_meant(path, stems):
            rejected.append(Rejected(source=printable_name(path), reason=reason, harmless=True))
        elif not_used := _why_not(folder, path):
            rejected.append(Rejected(source=printable_name(path), reason=not_used.reason, harmless=not_used.harmless))
        else:
            found.append(path)
    if not found:
        raise DatasetError(nothing_in(folder, rejected))
    return found, rejected


def refuse_inside(path: Path, folder: Path, what: str) -> None:
    """Stop before anything is written into a folder of screenshots.

    Raises:
        DatasetError: `path` is that folder or lies in it.
    """
    if path.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{path}: {what} must not lie in {folder}, which is never written to; choose another place")


def nothing_left(where: str, rejected: tuple[Rejected, ...] | list[Rejected]) -> str:
    """One line that says why a set is empty, with the first few reasons, the harmless ones last."""
    reasons = sorted(rejected, key=lambda one: one.harmless)
    some = "; ".join(f"{one.source}: {one.reason}" for one in reasons[:3])
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return f"{where}: no picture that can be used; {some}{more}"


def nothing_in(folder: Path, rejected: list[Rejected]) -> str:
    """One line that says why a folder gives no set."""
    if rejected:
        return nothing_left(str(folder), rejected)
    return f"{folder}: an empty folder; put screenshots into it ({', '.join(extensions())})"


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


def _why_not_meant(path: PurePosixPath, stems: set[str]) -> str:
    """Why a file is not meant to be a picture, whatever it holds; empty if it may be.

    Args:
        path: below the folder.
        stems: paths of the pictures in the folder, without their endings.
    """
    if str(path) in _OURS:
        return "written or read by headcanon itself, not a screenshot"
    if path.name.lower() in _SYSTEM_FILES or any(part.startswith(".") for part in path.parts):
        return "a hidden or system file, not a picture"
    if path.suffix.lower() == ".txt" and str(path.with_suffix("")) in stems:
        return "the caption of the picture beside it"
    return ""


def _why_not(folder: Path, path: PurePosixPath) -> NotUsed | None:
    """Why a file is no candidate; None if it is one."""
    whole = folder / path
    if whole.is_dir():
        reason = "a link to a folder; copy its pictures here instead" if whole.is_symlink() else _LOCKED
        return NotUsed(reason, harmless=False)
    not_used = why_not_used(path, _head(whole))
    if not_used and not_used.harmless:
        return not_used
    if printable_name(path) != str(path):
        return NotUsed("its name has letters that cannot be shown; rename it", harmless=False)
    if whole.is_symlink() and not whole.resolve().is_relative_to(folder.resolve()):
        return NotUsed("a link to a place outside the folder; copy the file here instead", harmless=False)
    if not whole.exists():
        return NotUsed("a link to a file that does not exist", harmless=False)
    if not whole.is_file():
        return NotUsed("not a regular file", harmless=False)
    return not_used


def _head(path: Path) -> bytes:
    """A file's first bytes; none if it is no file, or cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def collect(store: Store, folder: Path) -> Manifest:
    """Every picture of a folder and its sub-folders, in the order of their paths; the folder is never written to.

    An entry's `image` is the source file's own bytes. Every file that is not an entry is in `rejected` with a reason.

    Raises:
        DatasetError: no such folder, no picture in it that can be read, a composition.csv that makes no sense, or the
            store lies in the folder.
    """
    refuse_inside(store.root, folder, "the store")
    paths, rejected = list_pictures(folder)
    listed = read_list(folder)
    names = _names([str(path) for path in paths])

    def work(path: PurePosixPath) -> Entry | Rejected:
        return _entry(store, folder, str(path), names[str(path)], listed)

    entries: list[Entry] = []
    taken: dict[str, str] = {}
    for found in _without_copies(list(in_parallel(work, paths))):
        if isinstance(found, Rejected):
            rejected.append(found)
        elif _folded(found.name) in taken:
            reason = f"has the same name as {taken[_folded(found.name)]}; rename one of them"
            rejected.append(Rejected(source=found.source, reason=reason, image=found.image))
        else:
            entries.append(found)
            taken[_folded(found.name)] = found.source
    rejected += _not_there(listed, {str(path) for path in paths})
    rejected.sort(key=lambda one: one.source)
    if not entries:
        raise DatasetError(nothing_in(folder, rejected))
    return Manifest(entries=tuple(entries), rejected=tuple(rejected))


def collect_all(store: Store, folders: Sequence[Path]) -> Manifest:
    """The pictures of several folders as one set; of more than one, names and sources begin with the folder's.

    Raises:
        DatasetError: as `collect`, of any of them; or two folders are called alike.
    """
    if len(folders) == 1:
        return collect(store, folders[0])
    if alike := next((name for name, times in Counter(each.name for each in folders).items() if times > 1), None):
        raise DatasetError(f"two folders of one set are called {alike}; rename one of them")
    entries: list[Entry | Rejected] = []
    rejected: list[Rejected] = []
    for folder in folders:
        found = collect(store, folder)
        entries += (
            one.model_copy(
                update={"name": _shortened(f"{folder.name}-{one.name}"), "source": f"{folder.name}/{one.source}"}
            )
            for one in found.entries
        )
        rejected += (one.model_copy(update={"source": f"{folder.name}/{one.source}"}) for one in found.rejected)
    whole = list(_without_copies(entries))
    rejected += (one for one in whole if isinstance(one, Rejected))
    return Manifest(entries=tuple(one for one in whole if isinstance(one, Entry)), rejected=tuple(rejected))


def _without_copies(found: list[Entry | Rejected]) -> Iterator[Entry | Rejected]:
    """Of files that are the same byte for byte one stays: one whose composition is known, then the shortest path."""
    best: dict[str, Entry] = {}
    for one in found:
        if isinstance(one, Entry):
            best[one.image] = min(best.get(one.image, one), one, key=_less_telling)
    for one in found:
        if isinstance(one, Rejected) or best[one.image] is one:
            yield one
        else:
            reason = f"the same file as {best[one.image].source}, byte for byte"
            yield Rejected(source=one.source, reason=reason, harmless=True, image=one.image)


def _less_telling(entry: Entry) -> tuple[bool, int, str]:
    return entry.composition is None, len(entry.source), entry.source


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


def _entry(store: Store, folder: Path, source: str, name: str, listed: dict[str, Composition]) -> Entry | Rejected:
    path = folder / source
    try:
        check_bytes(path, source)
        sha256 = store.digest_of_file(path)
        if not store.has(sha256):
            header_of(path, source)  # what is no picture is not copied
            sha256 = store.put_file(path)
        header = _header(store, sha256, source)
    except ImageError as error:
        return Rejected(source=source, reason=_bare(error, source))
    except OSError as error:
        return Rejected(source=source, reason=f"cannot be read ({error.strerror}); allow reading it, or remove it")
    if isinstance(header, str):
        return Rejected(source=source, reason=header)
    composition, note = composition_of(source, listed)
    notes = [note] if composition else []
    if odd := not_its_name(header.kind, path):
        notes.append(odd)
    return Entry(
        name=name,
        source=source,
        image=sha256,
        width=header.width,
        height=header.height,
        composition=composition,
        notes=tuple(notes),
    )


def _header(store: Store, sha256: str, source: str) -> Header | str:
    """What the bytes say of themselves, or why they are no picture; remembered, so that no file is read twice."""
    key = memo_key("picture header", sha256)
    known: Header | str | None = store.record(key, Header) or store.record(key, str)
    if known is None:
        try:
            known = header_of(store.path(sha256), source)
        except ImageError as error:
            known = _bare(error, source)
        store.set_record(key, known)
    return known


def _bare(error: ImageError, source: str) -> str:
    return str(error).removeprefix(f"{source}: ")


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
        names[source] = _shortened("-".join((*folders, stem)) if homes[_folded(stem)] > 1 else stem)
    return names


# Room for an ending, such as .safetensors, in the names of files that are made of a picture.
_MOST_NAME_BYTES = 240


def _shortened(name: str) -> str:
    """A name that file systems take with an ending behind it; what is cut off stays told apart by a digest."""
    data = name.encode()
    if len(data) <= _MOST_NAME_BYTES:
        return name
    digest = digest_of(data)[:8]
    return f"{data[: _MOST_NAME_BYTES - 1 - len(digest)].decode(errors='ignore')}-{digest}"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _not_there(listed: dict[str, Composition], sources: set[str]) -> list[Rejected]:
    return [
        Rejected(source=source, reason=f"named in {LIST_NAME}, but there is no such picture")
        for source in sorted(set(listed) - sources)
    ]
