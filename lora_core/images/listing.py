"""Which files of a folder may be screenshots, by their names and kinds alone, and why the others are none."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lora_core.dataset import Rejected
from lora_core.errors import DatasetError
from lora_core.images.composition import LIST_NAME
from lora_core.images.decode import EXTENSIONS
from lora_core.printable import printable_name

REPORT_NAME = "report.json"
SHEET_NAME = "sheets/accepted.png"
LEFT_OUT_SHEET_NAME = "sheets/left_out.png"
# Written by this project's own commands into folders of pictures.
_OURS = (LIST_NAME, REPORT_NAME, SHEET_NAME, LEFT_OUT_SHEET_NAME)
# Unicode's categories of control characters, line and paragraph ends.
_LOCKED = "a folder that may not be read; allow reading it, or move it away"
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r")
# Renders and photographs, so that leaving one out is a loss; what editors save beside them is not.
_NOT_READ = (
    ".tga", ".dds", ".exr", ".hdr", ".heic", ".heif", ".jxl", ".jp2", ".pcx", ".ppm", ".pgm", ".qoi",
)  # fmt: skip


def list_pictures(folder: Path) -> tuple[list[PurePosixPath], list[Rejected]]:
    """Paths below a folder that may be pictures, by their names alone, and the other files with a reason.

    Raises:
        DatasetError: no such folder, or no file in it that may be a picture.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; name a folder with screenshots")
    paths, rejected = _pictures(folder)
    if not paths:
        raise DatasetError(nothing_in(folder, rejected))
    return paths, rejected


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
    return f"{folder}: an empty folder; put screenshots into it ({', '.join(EXTENSIONS)})"


def _pictures(folder: Path) -> tuple[list[PurePosixPath], list[Rejected]]:
    """Paths below the folder that may be pictures, and the others with a reason."""
    found: list[PurePosixPath] = []
    rejected: list[Rejected] = []
    every = sorted(_walk(folder), key=str)
    stems = {str(path.with_suffix("")) for path in every if path.suffix.lower() in EXTENSIONS}
    for path in every:
        if reason := _why_not_meant(path, stems, is_folder=(folder / path).is_dir()):
            rejected.append(Rejected(source=printable_name(path), reason=reason, harmless=True))
        elif reason := _why_not(folder, path):
            rejected.append(Rejected(source=printable_name(path), reason=reason))
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


def _why_not_meant(path: PurePosixPath, stems: set[str], *, is_folder: bool) -> str:
    """Why a file is not meant to be a picture, going by its name; empty if it may be.

    Args:
        path: below the folder.
        stems: paths of the pictures in the folder, without their endings.
        is_folder: whether it is one, or a link to one.
    """
    if str(path) in _OURS:
        return "written or read by headcanon itself, not a screenshot"
    if path.name.lower() in _SYSTEM_FILES or any(part.startswith(".") for part in path.parts):
        return "a hidden or system file, not a picture"
    suffix = path.suffix.lower()
    if suffix == ".txt" and str(path.with_suffix("")) in stems:
        return "the caption of the picture beside it"
    if suffix not in (*EXTENSIONS, *_NOT_READ) and not is_folder:
        return f"not a picture by its name; pictures end in {', '.join(EXTENSIONS)}"
    return ""


def _why_not(folder: Path, path: PurePosixPath) -> str:
    """Why a file that is called a picture is no candidate; empty if it is one."""
    if printable_name(path) != str(path):
        return "its name has letters that cannot be shown; rename it"
    whole = folder / path
    if whole.is_dir():
        return "a link to a folder; copy its pictures here instead" if whole.is_symlink() else _LOCKED
    if path.suffix.lower() in _NOT_READ:
        return f"{path.suffix.lower()} is not read; save it as PNG"
    if whole.is_symlink() and not whole.resolve().is_relative_to(folder.resolve()):
        return "a link to a place outside the folder; copy the file here instead"
    if not whole.exists():
        return "a link to a file that does not exist"
    if not whole.is_file():
        return "not a regular file"
    return ""
