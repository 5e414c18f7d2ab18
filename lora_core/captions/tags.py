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
# What is written with its underscores to the text encoder: Pony's words for quality, source and rating.
_UNDERSCORED = re.compile(
    r"score_\d{1,2}(?:_up)?|source_(?:anime|cartoon|furry|pony)|rating_(?:safe|questionable|explicit)"
)
# More faces, of taggers' tables and of keyboards: by them a prompt's weights and brackets are told from a face's own.
_SIGNS = r"""
:d :o :3 ;d ^^^ :< :p :q ;) :t :> >:) >:( ;o d: 3: :| :/ ;p :>= ;q ;3 :x :i :0 :) :( :] :[ :} :{ :c :s :v :w :z
>:d >:o >:3 >:| >:/ >:< >:> ;( ;] ;> =) =( =3 =d =p =o :-) :-( :-d :-p :-o ;-) :') :'( :'d c: d;
>o< ^o^ \o/ \m/ \n/ \||/ o3o \(^o^)/ <3 ? ! !? ...
"""
_FACES = frozenset(_SIGNS.split())
_DOUBLE_FACE = re.compile(r"([^\s_])_+\1")
_FULL_WIDTH = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {"\u3000": " "} | dict.fromkeys("、､،﹐﹑", ",")
)


@functools.lru_cache(maxsize=65536)
def canonical(text: str) -> str:
    r"""A tag as taggers name it, whatever a person or another program wrote.

    Backslashes before brackets go, however many have piled up; blanks become single underscores; letters become small;
    the wide forms of East Asian keyboards become the usual ones.
    """
    return re.sub(r"\s+", "_", unescaped(half_width(text)).strip()).lower()


def half_width(text: str) -> str:
    """Letters, signs, blanks and commas of East Asian keyboards as the usual ones: `（ｓｍｉｌｅ）、` → `(smile),`."""
    return text if text.isascii() else text.translate(_FULL_WIDTH)


def is_face(tag: str) -> bool:
    """Whether a tag, in small letters, is a face made of signs: `:3`, `^_^`, `;_;`."""
    return tag in KAOMOJI or tag in _FACES or _DOUBLE_FACE.fullmatch(tag) is not None


def spaced(tag: str) -> str:
    """A tag with spaces for underscores; faces and Pony's `score_9` or `source_anime` keep theirs."""
    return tag if tag in KAOMOJI or keeps_underscores(tag) else tag.replace("_", " ")


def keeps_underscores(tag: str) -> bool:
    """Whether models know a tag by its underscores alone."""
    return _UNDERSCORED.fullmatch(tag) is not None or _DOUBLE_FACE.fullmatch(tag) is not None


def escaped(text: str) -> str:
    r"""Brackets as web UIs want them, which read bare ones as weights: `star \(symbol\)`."""
    return re.sub(r"([\\()])", r"\\\1", text)


def unescaped(text: str) -> str:
    r"""Brackets as trainers and taggers want them: `star (symbol)`; a tag's own backslash, as in `\m/`, stays."""
    return _DOUBLED.sub(r"\\", _ESCAPED.sub(r"\1", text))


def caption_text(tags: Iterable[str], trigger: str) -> str:
    """A caption as the text encoder reads it: spaces, no escapes, joined by ", "; the trigger stays as it is."""
    return ", ".join(tag if tag == trigger else spaced(tag) for tag in tags)
