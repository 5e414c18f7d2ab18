"""The label table of a WD14 tagger: `selected_tags.csv` with tag_id, name, category, count."""

import csv
from dataclasses import dataclass
from pathlib import Path

from lora_core.bounded import TABLE_BYTES, read_text
from lora_core.errors import TaggerError

RATING = "9"
GENERAL = "0"
_COLUMNS = ("name", "category")


@dataclass(frozen=True)
class Label:
    """One output of the tagger; the name is empty where the table has a blank row."""

    name: str
    category: str


def read_labels(path: Path) -> tuple[Label, ...]:
    """The table's rows in order, blank ones included.

    Categories are read from their column, never from the order of rows. Ids are not used: published tables hold some
    as `9999999.0`.

    Raises:
        TaggerError: not such a table.
    """
    try:
        rows = list(csv.DictReader(read_text(path, TABLE_BYTES, TaggerError).splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaggerError(f"{path}: not a readable label table ({error})") from error
    if not rows or any(column not in rows[0] for column in _COLUMNS):
        raise TaggerError(f"{path}: not a label table; its first line must name the columns tag_id,name,category,count")
    labels = tuple(
        Label((row["name"] or "").strip(), (row["category"] or "").strip().removesuffix(".0")) for row in rows
    )
    broken = next((label for label in labels if label.name and not label.category.isdigit()), None)
    if broken is not None:
        raise TaggerError(f"{path}: tag {broken.name!r} has the category {broken.category!r}; categories are numbers")
    return labels


def fitted(labels: tuple[Label, ...], outputs: int, where: str) -> tuple[Label, ...]:
    """The labels as the model's outputs know them: a blank row is an output of its own, or none at all.

    Raises:
        TaggerError: the model has another number of outputs either way.
    """
    named = tuple(label for label in labels if label.name)
    for candidate in (labels, named):
        if len(candidate) == outputs:
            return candidate
    raise TaggerError(
        f"{where}: the model has {outputs} outputs, its label table {len(named)} tags; "
        "model.onnx and selected_tags.csv must come from the same tagger"
    )
