"""The forms of a tag: canonical with underscores here, spaced for people and text encoders, escaped for web UIs."""

import functools
import re
from collections.abc import Iterable

# Underscores are part of these faces.
KAOMOJI = frozenset(("0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3")) | frozenset(
    ("6_9", ">_o", "@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||")
)
_ESCAPED = re.compile(r"\\+([()])")
_DOUBLED = re.compile(r"\\{2,}")
_WEIGHT = re.compile(r":[0-9]*\.?[0-9]+$")


@functools.lru_cache(maxsize=65536)
def canonical(text: str) -> str:
    r"""A tag as taggers name it, whatever a person or another program wrote.

    Backslashes before brackets go, however many have piled up; blanks become single underscores; letters become small.
    """
    return re.sub(r"\s+", "_", unescaped(text).strip()).lower()


def spaced(tag: str) -> str:
    """A tag with spaces for underscores, faces excepted."""
    return tag if tag in KAOMOJI else tag.replace("_", " ")


def escaped(text: str) -> str:
    r"""Brackets as web UIs want them, which read bare ones as weights: `star \(symbol\)`."""
    return re.sub(r"([\\()])", r"\\\1", text)


def unescaped(text: str) -> str:
    r"""Brackets as trainers and taggers want them: `star (symbol)`; a tag's own backslash, as in `\m/`, stays."""
    return _DOUBLED.sub(r"\\", _ESCAPED.sub(r"\1", text))


def unweighted(text: str) -> str:
    """A tag without a prompt's weights: `((smile))`, `(smile:1.2)` and `[smile]` are `smile`.

    Caption editors read and write such weights; a text encoder reads them as letters. Escaped brackets are no weights,
    and neither are the brackets of `star (symbol)` or of a face.
    """
    tag = text.strip()
    while tag not in KAOMOJI and _is_wrapped(tag):
        tag = _WEIGHT.sub("", tag[1:-1]).strip()
    return tag


def _is_wrapped(tag: str) -> bool:
    """Whether the first bracket is closed by the last letter, and there is something between."""
    closing = {"(": ")", "[": "]"}.get(tag[:1])
    if closing is None or len(tag) < 3 or tag[-1] != closing or tag[-2] == "\\":
        return False
    depth = 0
    for index, letter in enumerate(tag):
        depth += (letter == tag[0]) - (letter == closing)
        if depth == 0:
            return index == len(tag) - 1
    return False


def caption_text(tags: Iterable[str], trigger: str) -> str:
    """A caption as the text encoder reads it: spaces, no escapes, joined by ", "; the trigger stays as it is."""
    return ", ".join(tag if tag == trigger else spaced(tag) for tag in tags)


def caption_tags(text: str, trigger: str) -> tuple[str, ...]:
    """The canonical tags of a caption's text, each once, in its order, without weights; `caption_text` reversed."""
    parts = (part.strip() for part in text.replace("\n", ",").split(","))
    tags = (part if part == trigger else canonical(unweighted(part)) for part in parts)
    return tuple(dict.fromkeys(tag for tag in tags if tag))
