"""The composition of a screenshot: as its author says, else as the tagger sees it, if that is clear."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lora_core.bounded import TEXT_BYTES, read_text
from lora_core.dataset import HEIGHTS, SIDES, Entry, Flag, Manifest, Rejected, Scores, TagTable, View
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
    """The composition and the note that says where it comes from; None if the author does not say.

    `source` is a path below the screenshot folder, with forward slashes; `listed` is `composition.csv`.
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
    """
    ranking = sorted((*COMPOSITIONS, *_OTHERS), key=lambda name: -scores.get(name, 0.0))
    best, next_best = (scores.get(name, 0.0) for name in ranking[:2])
    figures = f"{ranking[0]} {best:.2f}, {ranking[1]} {next_best:.2f}"
    clear = best >= _LEAST_SCORE and best - next_best >= _LEAST_MARGIN
    return Reading(next((name for name in COMPOSITIONS if clear and name == ranking[0]), None), figures)


def view_by_scores(scores: Mapping[str, float]) -> tuple[View, ...]:
    """From where a tagger sees the character: the likelier side and the likelier height, each if it scores .35."""
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


_HOW = f"say it in {LIST_NAME}, by a sub-folder or at the start of the file name ({', '.join(COMPOSITIONS)})"
# An author is only doubted aloud when the tagger is this sure, and sees nothing of what the author says.
_SURE, _NOTHING = 0.6, 0.1


def settle(manifest: Manifest, tags: TagTable, said: Mapping[str, Composition]) -> Manifest:
    """Every picture with its views, and with a composition if its author or the tagger's scores give one.

    A picture whose scores are not clear keeps none and is flagged, as is one whose author the tagger contradicts.

    Args:
        manifest: square pictures, with what their authors say.
        tags: their raw scores.
        said: compositions by the pictures' names that go before everything else.

    Raises:
        DatasetError: the scores were made for other pictures.
    """
    entries = tuple(_settled(entry, tags.of(entry), said.get(entry.name)) for entry in manifest.entries)
    return manifest.model_copy(update={"entries": entries})


def _settled(entry: Entry, scores: Scores, said: Composition | None) -> Entry:
    looked = entry.model_copy(update={"view": view_by_scores(scores.general)})
    if said is not None:
        return looked.model_copy(
            update={"composition": said, "notes": (*entry.notes, f"{said}: from the caption rules")}
        )
    reading = composition_by_scores(scores.general)
    if entry.composition is None and reading.composition is None:
        return looked.model_copy(
            update={"flags": (*entry.flags, Flag(code="composition_in_doubt", values=(reading.figures,)))}
        )
    if entry.composition is None:
        note = f"{reading.composition}: as the tagger sees it ({reading.figures})"
        return looked.model_copy(update={"composition": reading.composition, "notes": (*entry.notes, note)})
    if _contradicts(scores.general, entry.composition):
        flag = Flag(code="composition_contradicted", values=(entry.composition, reading.figures))
        return looked.model_copy(update={"flags": (*entry.flags, flag)})
    return looked


def _contradicts(scores: Mapping[str, float], composition: Composition) -> bool:
    return scores.get(composition, 0.0) < _NOTHING and any(
        scores.get(other, 0.0) >= _SURE for other in COMPOSITIONS if other != composition
    )


def refuse_doubtful(manifest: Manifest) -> None:
    """Stop at pictures that have no composition.

    Raises:
        DatasetError: naming the first of them, and how many there are.
    """
    doubtful = [entry for entry in manifest.entries if entry.composition is None]
    if doubtful:
        some = ", ".join(f"{entry.source}: {_why(entry)}" for entry in doubtful[:3])
        more = f" and {len(doubtful) - 3} more" if len(doubtful) > 3 else ""
        raise DatasetError(f"{some}{more}; {_HOW}, or set preprocess.bad_pictures = 'leave_out'")


def without_doubtful(manifest: Manifest) -> Manifest:
    """The pictures that have a composition; the others are left out with their reason."""
    left_out = tuple(
        Rejected(source=entry.source, reason=f"{_why(entry)}; {_HOW}", image=entry.image)
        for entry in manifest.entries
        if entry.composition is None
    )
    return Manifest(
        entries=tuple(entry for entry in manifest.entries if entry.composition is not None),
        rejected=tuple(sorted((*manifest.rejected, *left_out), key=lambda one: one.source)),
    )


def _why(entry: Entry) -> str:
    return next((flag.text for flag in entry.flags if flag.code == "composition_in_doubt"), "composition unknown")
