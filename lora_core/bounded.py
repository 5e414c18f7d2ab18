"""A user's small files: looked at before they are read, so that no file, whatever its name, fills the memory.

A bound is many times what such a file ever needs; what is larger is something else.
"""

import codecs
import errno
import json
import re
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
    """A file's text with plain line ends, see `decoded`; raises as `check_size`, or UnicodeError."""
    return decoded(read_bounded(path, most_bytes, error)).replace("\r\n", "\n").replace("\r", "\n")


def decoded(data: bytes) -> str:
    """Text of UTF-8 or UTF-16 (as PowerShell and Notepad write it), with or without a mark.

    Raises:
        UnicodeError: it is neither.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16")
    elif b"\0" in data:  # no text holds this character; in UTF-16 it is half of every letter of English
        text = max((data.decode(each, "replace") for each in ("utf-16-le", "utf-16-be")), key=_usual_letters)
        text = text.replace("\ufffd", "\0")
    else:
        text = data.decode("utf-8-sig")
    if "\0" in text:
        raise UnicodeError("not text")
    return text


def _usual_letters(text: str) -> int:
    """How many letters are ASCII's, kana, or wide forms: with the bytes of each turned round hardly one is."""
    return len(re.findall("[\t\n\r -~\u3000-\u30ff\uff00-\uffef]", text))


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
    except tomllib.TOMLDecodeError as problem:
        hint = _toml_hint(read_text(path, TEXT_BYTES, error), str(problem))
        raise error(f"{path}: not a readable TOML file: {one_line(problem)}{hint}") from problem
    except UnicodeError as problem:
        raise error(f"{path}: not a readable TOML file: it is neither UTF-8 nor UTF-16; save it as UTF-8") from problem
    except (OSError, ValueError) as problem:  # no UTF-8, no TOML, a number of more than 4,300 digits
        raise error(f"{path}: not a readable TOML file: {one_line(problem)}") from problem


_DOUBLE_QUOTED = re.compile(r'"([^"\n]*\\[^"\n]*)"')


def _toml_hint(text: str, problem: str) -> str:
    """What to write instead, by the line that TOML refuses; "" where that is not known."""
    found = re.search(r"at line (\d+)", problem)
    lines = text.splitlines()
    line = lines[int(found[1]) - 1] if found and int(found[1]) <= len(lines) else ""
    if backslashes := _DOUBLE_QUOTED.search(line):
        return f"; a backslash means something else in double quotes: write it in single quotes, '{backslashes[1]}'"
    if set(line) & set("“”„‘’«»「」"):
        return '; the quotes are curly: write straight ones, "…"'
    if re.search(r"=\s*(True|False|None|yes|no|on|off)\s*(#.*)?$", line):
        return "; write true or false in small letters"
    if re.search(r"=\s*[^\s\"'\[{#\d.+-]", line):
        return '; a text needs quotes: name = "…"'
    return ""


def json_of(data: str | bytes) -> Any:
    """What JSON text says.

    Raises:
        ValueError: it is no JSON, nested too deep, or holds a number of more than 4,300 digits.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
