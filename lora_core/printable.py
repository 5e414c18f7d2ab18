"""Text from files, made fit for terminals and logs: a name or a note in a file is for reading, never a command."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

# Control characters, marks that turn the direction of writing, halves of characters (names that are not UTF-8).
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]")

_NO_LETTERS = ("Cc", "Zl", "Zp")


def printable(text: object) -> str:
    """The text with what a terminal would obey written out, such as \\x1b; tabs and line ends stay."""
    return _UNFIT.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def whole_letters(text: str) -> str:
    """The text with a mark in place of every half of a letter, which JSON can name and no file can hold."""
    return text.encode("utf-8", "replace").decode() if max(text, default="") >= "\ud800" else text


def one_line(text: object) -> str:
    """The same without line ends, and with single spaces."""
    return printable(" ".join(str(text).split()))


def clipped(text: object, letters: int = 200) -> str:
    """The beginning of a text that may be of any length, for a message."""
    whole = str(text)
    return whole if len(whole) <= letters else f"{whole[:letters]}…"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def printable_name(path: PurePath | str) -> str:
    """A path as one line of Unicode: other bytes, as old archives leave them, and control characters as escapes."""
    text = str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _NO_LETTERS else letter
        for letter in text
    )


def duration(seconds: float) -> str:
    """12 s, 3 min 5 s, 2 h 7 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
