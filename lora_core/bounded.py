"""A user's small files: looked at before they are read, so that no file, whatever its name, fills the memory.

A bound is many times what such a file ever needs; what is larger is something else.
"""

import errno
import json
import stat
import tomllib
from pathlib import Path
from typing import Any

from lora_core.errors import UserError
from lora_core.printable import clipped, one_line

MIB = 1 << 20
TEXT_BYTES = 8 * MIB
"""Of a recipe, a rule file, a table of compositions, a model's configuration: ten thousand pictures take two MiB."""
TABLE_BYTES = 64 * MIB
"""Of a report, or of a tagger's label table, which has 0.3 MiB for ten thousand tags."""
SCORES_BYTES = 2048 * MIB
"""Of a table of tagger scores: some KiB for each picture."""
MODEL_BYTES = 8192 * MIB
"""Of an ONNX model; those in use have up to 1.5 GiB."""


def name_fault(error: OSError) -> UserError | None:
    """The mistake behind an error that only a name can make, wherever it is met: too long, or of impossible letters."""
    if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ):
        return None
    return UserError(f"{clipped(error.filename)}: {(error.strerror or '').lower()}; choose another name")


def check_size(path: Path, most_bytes: int, error: type[UserError]) -> None:
    """Refuse what is no file, or too large to be what it should be.

    Raises:
        UserError: (as `error`) it is.
        OSError: it is not there, or must not be looked at.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{path}: not a regular file; name another")
    if found.st_size > most_bytes:
        raise error(
            f"{path}: {found.st_size / MIB:,.0f} MiB, and such a file has {most_bytes / MIB:,.0f} MiB at most; "
            "is it the right one?"
        )


def read_bounded(path: Path, most_bytes: int, error: type[UserError]) -> bytes:
    """A file's bytes; raises as `check_size`."""
    check_size(path, most_bytes, error)
    with path.open("rb") as file:
        return file.read(most_bytes)


def read_text(path: Path, most_bytes: int, error: type[UserError]) -> str:
    """A file's text, UTF-8 with or without a mark in front; raises as `check_size`, or UnicodeDecodeError."""
    text = read_bounded(path, most_bytes, error).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_toml(path: Path, error: type[UserError]) -> dict[str, Any]:
    """A TOML file's table.

    Raises:
        UserError: (as `error`) it is too large, cannot be read, or is no TOML.
        FileNotFoundError: it is not there.
    """
    try:
        return tomllib.loads(read_text(path, TEXT_BYTES, error))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise error(f"{path}: not a readable TOML file: its values are nested too deep") from None
    except (OSError, ValueError) as problem:  # no UTF-8, no TOML, a number of more than 4,300 digits
        raise error(f"{path}: not a readable TOML file: {one_line(problem)}") from problem


def json_of(data: str | bytes) -> Any:
    """What JSON text says.

    Raises:
        ValueError: it is no JSON, nested too deep, or holds a number of more than 4,300 digits.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
