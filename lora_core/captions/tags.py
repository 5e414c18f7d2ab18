"""The forms of a tag: canonical with underscores here, spaced for people and text encoders, escaped for web UIs."""

import re
from collections.abc import Iterable

# Underscores are part of these faces.
KAOMOJI = frozenset(("0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3")) | frozenset(
    ("6_9", ">_o", "@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||")
)
_ESCAPED = re.compile(r"\\+([()])")


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
    r"""Brackets as trainers and taggers want them: `star (symbol)`."""
    return _ESCAPED.sub(r"\1", text)


def caption_text(tags: Iterable[str], trigger: str) -> str:
    """A caption as the text encoder reads it: spaces, no escapes, joined by ", "; the trigger stays as it is."""
    return ", ".join(tag if tag == trigger else spaced(tag) for tag in tags)


def caption_tags(text: str, trigger: str) -> tuple[str, ...]:
    """The canonical tags of a caption's text, each once, in its order; `caption_text` reversed."""
    parts = (part.strip() for part in text.replace("\n", ",").split(","))
    tags = (part if part == trigger else canonical(part) for part in parts)
    return tuple(dict.fromkeys(tag for tag in tags if tag))
