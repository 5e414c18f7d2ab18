"""From a folder of screenshots to a manifest that accounts for every file in it."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lora_core.dataset import Entry, Manifest, Rejected
from lora_core.errors import DatasetError, ImageError
from lora_core.images.composition import LIST_NAME, composition_of, read_list
from lora_core.images.decode import MEANT_BY, Header, check_bytes, header_of
from lora_core.images.listing import list_pictures, nothing_in, refuse_inside
from lora_core.images.parallel import in_parallel
from lora_core.memo import memo_key
from lora_core.recipe import Composition
from lora_core.store import Store


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
    suffix = path.suffix.lower()
    notes = [note] if composition else []
    if MEANT_BY[suffix] != header.kind:
        notes.append(f"a {header.kind} file, although its name ends in {suffix}")
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
        names[source] = "-".join((*folders, stem)) if homes[_folded(stem)] > 1 else stem
    return names


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _not_there(listed: dict[str, Composition], sources: set[str]) -> list[Rejected]:
    return [
        Rejected(source=source, reason=f"named in {LIST_NAME}, but there is no such picture")
        for source in sorted(set(listed) - sources)
    ]
