"""Which of the four compositions a screenshot is: as its author says (list, then folder, then file name), else as the
tagger sees it, if that is clear."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lora_core.bounded import TEXT_BYTES, read_text
from lora_core.dataset import HEIGHTS, SIDES, View
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
# Framings that the method has no pictures of: one that leads means that the screenshot is none of the four.
_OTHERS = ("full_body", "lower_body", "wide_shot", "very_wide_shot")
# A reading needs to be likely, and clearly ahead of the next: a wrong framing teaches the wrong picture.
_LEAST_SCORE = 0.35
_LEAST_MARGIN = 0.15


def composition_of(source: str, listed: Mapping[str, Composition]) -> tuple[Composition | None, str]:
    """The composition of a screenshot and the note that says where it comes from; None if its author does not say.

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
    return None, ""


class Reading(NamedTuple):
    """What the tagger's framing scores say: a composition, or None if they are low or too close to each other."""

    composition: Composition | None
    figures: str


def composition_by_scores(scores: Mapping[str, float]) -> Reading:
    """The composition that a tagger sees.

    Clear is a score of at least .35 that is at least .15 ahead of the next framing's, a full body's included.

    Args:
        scores: probabilities by canonical tag.
    """
    ranking = sorted((*COMPOSITIONS, *_OTHERS), key=lambda name: -scores.get(name, 0.0))
    best, next_best = (scores.get(name, 0.0) for name in ranking[:2])
    figures = f"{ranking[0]} {best:.2f}, {ranking[1]} {next_best:.2f}"
    clear = best >= _LEAST_SCORE and best - next_best >= _LEAST_MARGIN
    return Reading(next((name for name in COMPOSITIONS if clear and name == ranking[0]), None), figures)


def view_by_scores(scores: Mapping[str, float]) -> tuple[View, ...]:
    """From where a tagger sees the character: the likelier side and the likelier height, each if it scores .35.

    Args:
        scores: probabilities by canonical tag.
    """
    likeliest = (max(choices, key=lambda view: scores.get(view, 0.0)) for choices in (SIDES, HEIGHTS))
    return tuple(view for view in likeliest if scores.get(view, 0.0) >= _LEAST_SCORE)


def read_list(folder: Path) -> dict[str, Composition]:
    """`composition.csv` of a screenshot folder: two columns, file and composition, with or without a heading.

    Raises:
        DatasetError: unreadable, or a composition that does not exist.
    """
    path = folder / LIST_NAME
    if not path.exists():
        return {}
    try:
        rows = list(csv.reader(read_text(path, TEXT_BYTES, DatasetError).splitlines()))
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
