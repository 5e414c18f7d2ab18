"""A table of raw scores as a file of its own: TAGS.json."""

from pathlib import Path

from pydantic import ValidationError

from lora_core.bounded import SCORES_BYTES, read_bounded
from lora_core.dataset import TagTable
from lora_core.digests import canonical_json
from lora_core.disk import write_atomically
from lora_core.errors import OutputExistsError, TaggerError


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
