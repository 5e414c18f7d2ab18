"""One spelling for what can be written in many: the texts that the content rule's words are looked for in.

A text becomes segments, its tags; a segment is words with single spaces between. What a person still reads as the same
(another script's letters of the same shape, digits for letters, letters one by one) is a further reading of it.
"""

import functools
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

# Between tags. A dot, a dash or a slash is inside of them: `12 y.o.`, `pre-teen`.
_BETWEEN_TAGS = re.compile(r"[,;|\n\r\v\f、。\u2028\u2029\u0085]+")
# What web UIs read as strength: `(tag:1.2)`, `<lora:name:0.8>`, `tag:1.2`.
_WEIGHT = re.compile(r"(?<!age):\s*\d*\.\d+")
_THOUSANDS = re.compile(r"(?<=\d)[,. ](?=\d{3}(?!\d))")
_DECIMALS = re.compile(r"(?<=\d)\.\d+")
_NO_LETTER = re.compile(r"[\W_]+")
_STRETCHED = re.compile(r"([^\W\d])\1{2,}|([aeiou])\2")
_INNER_MARK = re.compile(r"(?<=[^\W\d_])!(?=[^\W\d_])")
_LETTERS_APART = re.compile(r"(?<= )\w(?: \w){2,}(?= )")
_HIRAGANA = {code: code + 0x60 for code in range(0x3041, 0x3097)}
# Letters in circles and squares that compatibility normalization leaves.
_SHAPED = {start + index: ord("a") + index for start in (0x1F150, 0x1F170, 0x1F1E6) for index in range(26)}
_FILLERS = "\u115f\u1160\u3164\uffa0\u2800"
_SHAPELESS = ("Mn", "Me", "Cf", "Cc", "Co")
_FOR_LETTERS = str.maketrans("@$€", "ase")
_DIGITS_FOR_LETTERS = (str.maketrans("01345789", "oieastbg"), str.maketrans("01345789", "oleastbg"))
_KANJI = "〇一二三四五六七八九"
_KANJI_NUMBER = re.compile(f"[{_KANJI}]?十[{_KANJI}]?|[{_KANJI}]{{1,3}}(?=[歳才岁歲年])")
# What triggers that a recipe makes of its name begin with.
_PREFIX = "hc"
_SHORTEST = 3


@functools.cache
def content_words() -> dict[str, Any]:
    """The content rule's tables, as content_words.json has them."""
    text = resources.files("lora_core.captions").joinpath("content_words.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


@functools.lru_cache(maxsize=65536)
def segments(text: str) -> tuple[str, ...]:
    """A text's tags in plain spelling, each with a space before, between and after its words."""
    low = unicodedata.normalize("NFKC", text).casefold().replace("\\", "")
    low = _WEIGHT.sub(" ", _THOUSANDS.sub("", low))
    found = (_plain(part) for part in _BETWEEN_TAGS.split(low))
    return tuple(dict.fromkeys(part for part in found if part.strip()))


def readings(segment: str) -> Iterator[str]:
    """A segment as it is, and as it can be read too; each once."""
    latin = segment.translate(_lookalikes())
    kinds = [segment, latin, *(_each_word(latin, functools.partial(_spelled, table=t)) for t in _DIGITS_FOR_LETTERS)]
    kinds += [_each_word(latin, _trimmed), _LETTERS_APART.sub(_joined, latin), _STRETCHED.sub(r"\1\2", latin)]
    return iter(dict.fromkeys(kinds))


def plain(text: str) -> str:
    """A word or phrase of the rule's own tables in plain spelling, without the outer spaces."""
    return _plain(unicodedata.normalize("NFKC", text).casefold()).strip()


def _plain(text: str) -> str:
    return _spaced(text if text.isascii() else _unmarked(text))


def _unmarked(text: str) -> str:
    """Whole letters without marks, in figures where they are numbers."""
    # An n with a tilde is a letter of its own: otherwise a child in Spanish would be a name. Of an i without a dot
    # capitals know nothing.
    marked = unicodedata.normalize("NFC", text).replace("ñ", "ɲ").replace("ı", "i")
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", marked.translate(_SHAPED)) if _shows(letter))
    whole = unicodedata.normalize("NFKC", bare).casefold().translate(_HIRAGANA)
    return _KANJI_NUMBER.sub(_in_figures, "".join(map(_digit, whole))).translate(_signs())


def _spaced(text: str) -> str:
    visible = text if text.isprintable() else "".join(filter(_shows, text))
    said = _DECIMALS.sub("", _INNER_MARK.sub("i", visible)).replace("18+", "18 plus ").translate(_FOR_LETTERS)
    return f" {_NO_LETTER.sub(' ', said).strip()} "


def _shows(letter: str) -> bool:
    """Whether a letter has a shape of its own, as marks, joiners and fillers have none; a blank separates."""
    return letter.isspace() or (letter not in _FILLERS and unicodedata.category(letter) not in _SHAPELESS)


def _digit(letter: str) -> str:
    value = unicodedata.decimal(letter, None)
    return letter if value is None else str(value)


def _in_figures(found: re.Match[str]) -> str:
    text = found[0]
    if "十" not in text:
        return "".join(str(_KANJI.index(letter)) for letter in text)
    tens, ones = text.split("十")
    return str(10 * (_KANJI.index(tens) if tens else 1) + (_KANJI.index(ones) if ones else 0))


@functools.cache
def _lookalikes() -> dict[int, int]:
    return str.maketrans(content_words()["lookalikes"]["from"], content_words()["lookalikes"]["to"])


@functools.cache
def _signs() -> dict[int, str]:
    return {ord(sign): f" {word} " for sign, word in content_words()["signs"].items()}


def _each_word(segment: str, change: Callable[[str], str]) -> str:
    return f" {' '.join(map(change, segment.split()))} "


def _spelled(word: str, table: dict[int, int]) -> str:
    """Letters for digits, in a word that has both."""
    return word if word.isdigit() or word.isalpha() else word.translate(table)


def _trimmed(word: str) -> str:
    """Without a number at its ends, and without a trigger's usual beginning."""
    bare = word.strip("0123456789").removeprefix(_PREFIX)
    return bare if len(bare) >= _SHORTEST else word


def _joined(found: re.Match[str]) -> str:
    return found[0].replace(" ", "")
