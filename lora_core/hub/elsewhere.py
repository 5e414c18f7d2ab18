"""Files of a model that another program's folder holds already: found by hash, or by the repository's name."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from lora_core.errors import HubError
from lora_core.store.digests import file_digest

_DEEPEST = 8


def same_files(folder: Path, repository: str, expected: Mapping[str, str]) -> dict[str, Path]:
    """The files of a model in a folder of A1111, Forge, ComfyUI, kohya or the hub's own cache.

    A file whose SHA-256 is known is found under whatever name it has; others only together, under their own names in a
    folder that is called after the repository.

    Args:
        folder: searched with all that is in it.
        repository: owner/name.
        expected: file → SHA-256; empty: not known.

    Returns:
        File → where it is; empty: not all of them were found.

    Raises:
        HubError: there is no such folder.
    """
    if not folder.is_dir():
        raise HubError(f"--from {folder}: there is no such folder")
    if expected and all(expected.values()):
        return _by_hash(folder, expected)
    return _by_name(folder, repository, tuple(expected))


def link(source: Path, target: Path) -> None:
    """Give a file a second name; where the disk takes no links, copy it."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = source.resolve()
    for attempt in (os.link, os.symlink):
        try:
            attempt(source, target)
        except OSError:
            continue
        return
    shutil.copyfile(source, target)


def _by_hash(folder: Path, expected: Mapping[str, str]) -> dict[str, Path]:
    """Files of the same name first, since reading a model takes seconds."""
    wanted = {digest: name for name, digest in expected.items()}
    endings = {Path(name).suffix for name in expected}
    paths = sorted(
        (path for path in _files(folder) if path.suffix in endings), key=lambda path: path.name not in expected
    )
    found: dict[str, Path] = {}
    for path in paths:
        if len(found) == len(wanted):
            break
        if name := wanted.get(file_digest(path)):
            found[name] = path
    return found if len(found) == len(wanted) else {}


def _by_name(folder: Path, repository: str, names: tuple[str, ...]) -> dict[str, Path]:
    own = _letters(repository.partition("/")[2])
    for holder in sorted({path.parent for path in _files(folder) if path.name in names}):
        called = any(own in _letters(part) for part in holder.relative_to(folder.parent).parts)
        if names and called and all((holder / name).is_file() for name in names):
            return {name: holder / name for name in names}
    return {}


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder, followlinks=False):
        if len(Path(here).relative_to(folder).parts) >= _DEEPEST:
            folders.clear()
        folders.sort()
        yield from (Path(here) / name for name in sorted(names) if (Path(here) / name).is_file())
