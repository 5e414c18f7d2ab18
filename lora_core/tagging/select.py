"""Which scores become tags."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import Field, ValidationError

from lora_core.bounded import SCORES_BYTES, read_bounded
from lora_core.dataset import Frozen, Scores, TagTable
from lora_core.errors import OutputExistsError, RecipeError, TaggerError
from lora_core.recipe import Tagger
from lora_core.store.digests import canonical_json
from lora_core.store.files import write_atomically

_ENTRY = re.compile(r"(?P<tag>.*\S)\s*=\s*(?P<score>0?\.\d+)")


class Thresholds(Frozen):
    """What a tag's probability must reach.

    Attributes:
        general: for ordinary tags.
        character: for names.
        tags: canonical tag → its own threshold, which goes before the others.
        mcut: whether the cut is found in each picture's own scores; `general` and `character` are then not used.
    """

    general: float = Field(gt=0, lt=1)
    character: float = Field(gt=0, lt=1)
    tags: Mapping[str, float] = {}
    mcut: bool = False


def thresholds(options: Tagger) -> Thresholds:
    """The recipe's thresholds.

    Raises:
        RecipeError: an entry of `tag_thresholds` is not "tag = 0.3".
    """
    own = {}
    for entry in options.tag_thresholds:
        found = _ENTRY.fullmatch(entry.strip())
        if found is None or not 0 < float(found["score"]) < 1:
            raise RecipeError(f'tag_thresholds: {entry!r} is not a tag and a probability, such as "nose = 0.15"')
        own[found["tag"].replace(" ", "_")] = float(found["score"])
    character = options.character_threshold or options.threshold
    return Thresholds(general=options.threshold, character=character, tags=own, mcut=options.mcut)


def select(scores: Scores, least: Thresholds) -> dict[str, float]:
    """Tags at or above their threshold, best first; ratings never count."""
    return ranked(
        {**_reached(scores.general, least.general, least), **_reached(scores.character, least.character, least)}
    )


def mcut(scores: Sequence[float]) -> float:
    """The middle of the widest gap between neighbouring scores: MCut (Largeron, Moulin and Géry 2012).

    It needs no number, but finds a gap in every picture, also where the tagger is sure of nothing. Of gaps equally wide
    the one between the higher scores counts. 1 where there are fewer than two scores: nothing is told apart.
    """
    best = sorted(scores, reverse=True)
    gaps = [(high - low, (high + low) / 2) for high, low in pairwise(best)]
    return max(gaps, key=lambda gap: gap[0])[1] if gaps else 1.0


def ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """Best first; equal scores by name, so that the order never depends on the table's."""
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def _reached(scores: Mapping[str, float], usual: float, least: Thresholds) -> dict[str, float]:
    cut = mcut(list(scores.values())) if least.mcut else usual
    return {tag: score for tag, score in scores.items() if score >= least.tags.get(tag, cut)}


def write_tags(table: TagTable, path: Path) -> None:
    """Write the raw scores, keyed by picture digest.

    Raises:
        OutputExistsError: the name is taken by other bytes.
    """
    data = canonical_json(table.model_dump(mode="json"))
    if path.exists():
        if path.read_bytes() != data:
            raise OutputExistsError(f"{path}: exists with other bytes and is not overwritten; choose another name")
        return
    write_atomically(path, data)


def read_tags(path: Path) -> TagTable:
    """Raw scores from a file that `write_tags` wrote.

    Raises:
        TaggerError: there is no such file, or it is something else.
    """
    try:
        return TagTable.model_validate_json(read_bounded(path, SCORES_BYTES, TaggerError))
    except OSError as error:
        raise TaggerError(f"{path}: cannot be read ({error.strerror}); `headcanon tag` writes it") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise TaggerError(
            f"{path}: not a table of tagger scores ({first['msg']}); `headcanon tag` writes one"
        ) from error
