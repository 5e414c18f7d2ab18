"""Which of the four compositions a screenshot is, as its author says: list, then folder, then file name."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lora_core.errors import DatasetError
from lora_core.recipe import COMPOSITIONS, Composition

LIST_NAME = "composition.csv"

_SPELLINGS: Mapping[str, Composition] = {
    "closeup": "close-up",
    "face": "close-up",
    "portrait": "portrait",
    "upperbody": "upper_body",
    "bust": "upper_body",
    "cowboyshot": "cowboy_shot",
    "cowboy": "cowboy_shot",
}
_SEPARATORS = re.compile(r"[\s_\-]+")
# The longest spelling first, and no letter behind it: "portraits of Mia" is a portrait's neighbour, not a portrait.
_PREFIX = re.compile(
    r"^(close[\s_-]?up|portrait|upper[\s_-]?body|cowboy[\s_-]?shot|cowboy|bust|face)(?![a-z])", re.IGNORECASE
)


def composition_of(source: str, listed: Mapping[str, Composition]) -> tuple[Composition | None, str]:
    """The composition of a screenshot and the note that says where it comes from.

    Args:
        source: path below the screenshot folder, with forward slashes.
        listed: what `composition.csv` says, by the same path.
    """
    if source in listed:
        return listed[source], f"{listed[source]}: from {LIST_NAME}"
    path = PurePosixPath(source)
    for folder in reversed(path.parent.parts):
        known = _SPELLINGS.get(_SEPARATORS.sub("", folder.lower()))
        if known:
            return known, f"{known}: from the folder {folder!r}"
    if match := _PREFIX.match(path.name):
        known = _SPELLINGS[_SEPARATORS.sub("", match[1].lower())]
        return known, f"{known}: from the file name"
    return None, f"composition unknown: neither {LIST_NAME} nor a folder nor the file name says it"


def read_list(folder: Path) -> dict[str, Composition]:
    """`composition.csv` of a screenshot folder: two columns, file and composition, with or without a heading.

    Raises:
        DatasetError: unreadable, or a composition that does not exist.
    """
    path = folder / LIST_NAME
    if not path.exists():
        return {}
    try:
        rows = list(csv.reader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a readable UTF-8 table of file,composition ({error})") from error
    listed: dict[str, Composition] = {}
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and cells[:2] == ["file", "composition"]):
            continue
        known = _SPELLINGS.get(_SEPARATORS.sub("", cells[1].lower())) if len(cells) > 1 else None
        if known is None:
            raise DatasetError(
                f"{path}, line {number}: {','.join(row)!r} names no composition; "
                f"write FILE,COMPOSITION with one of {', '.join(COMPOSITIONS)}"
            )
        listed[cells[0].replace("\\", "/").removeprefix("./")] = known
    return listed
