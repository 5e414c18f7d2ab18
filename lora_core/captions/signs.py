"""The content rule's signs in a word, a tag or a text, ages among them. The words are data: content_words.json."""

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from lora_core.captions.plain_text import content_words, plain, readings, segments

_FIGURES = r"(?:0?\d|1[0-7])"
_ANY_FIGURES = r"\d{1,3}"
# Korean counts years with numbers of its own; of twenty and more, eighteen and nineteen only the last word is the same.
_KOREAN = (
    r"(?<![가-힣])(?<!스물 )(?<!열 )"
    r"(?:열 ?(?:한|두|세|네|다섯|여섯|일곱)|한|두|세|네|다섯|여섯|일곱|여덟|아홉|열) ?살"
)


def age_of_a_minor(segment: str) -> str | None:
    """The first such age in a segment; None: there is none."""
    found = _ages().search(_not_ages().sub(" · ", segment))
    return found[0].strip() if found else None


@functools.cache
def _ages() -> re.Pattern[str]:
    ages = content_words()["ages"]
    words = _any_of(word for names in ages["numbers"].values() for word in names)
    tens = "".join(f"(?<! {re.escape(plain(ten))} )" for ten in ages["tens"])
    number = rf"(?:(?<!\d){_FIGURES}(?!\d)|(?<= ){tens}{words})"
    of_things = rf"(?! {_any_of(ages['not_of'])} )"
    years, small = _any_of(ages["units"]), _any_of(ages["small_units"])
    ordinals, under = _any_of(ages["ordinals"]), _any_of(ages["under"])
    kinds = (
        rf"{number} ?{years}(?= ){of_things}",
        rf"(?<!\d){_ANY_FIGURES} ?{small}(?= ){of_things}",
        rf"(?<!\d){_FIGURES} ?{_any_of(ages['signs'])}(?![기대])",
        rf"(?<= )of {number} years(?= )",
        _KOREAN,
        rf"(?<= ){_any_of(ages['before'])} ?{number}(?= )",
        rf"(?<= ){ordinals} graders?(?= )",
        rf"(?<= ){ordinals} grade(?= $| student| pupil| girl| boy| class)",
        rf"(?<= )grade {_FIGURES} (?:student|pupil|girl|boy)",
        rf"(?<= ){under} ?(?:1[0-8]|\d|eighteen|sixteen)(?= $| y)",
        r"(?<= )(?:girl|boy|daughter|son|sister|brother) (?:[4-9]|1[0-7])(?= $)",
        rf"[小中]学?校?{_FIGURES}年",
        r"(?<= )(?:[小中高][1-6](?= |女|男|生)|j[sc][1-6](?= ))",
    )
    return re.compile("|".join(kinds))


@functools.cache
def _not_ages() -> re.Pattern[str]:
    return re.compile(rf"(?<= ){_any_of(content_words()['ages']['not_age'])}(?= )")


def _any_of(words: Iterable[str]) -> str:
    """Any of some words, the longest first; a final star stands for any ending."""
    plain_words = sorted(((plain(word), word.endswith("*")) for word in words), key=lambda each: -len(each[0]))
    return f"(?:{'|'.join(re.escape(word) + ('[^ ]*' if star else '') for word, star in plain_words)})"


_MOST_WORDS = 5
# A word broken in two is told from two words by its length: "pen is" and its like are among the harmless.
_LEAST_LETTERS = 5

Side = Literal["minor", "sexual"]


@dataclass(frozen=True)
class _Family:
    """Words of one side, in plain spelling.

    Attributes:
        words: one or several in a row.
        starts: the same with any ending.
        inside: count within a longer word.
        whole: count as a whole tag only.
    """

    words: frozenset[str]
    starts: tuple[str, ...]
    inside: tuple[str, ...]
    whole: frozenset[str]

    def sign(self, segment: str) -> str | None:
        """The first sign in a segment."""
        if segment.strip() in self.whole:
            return segment.strip()
        words = segment.split()
        for first in range(len(words)):
            for last in range(first + 1, min(first + _MOST_WORDS, len(words)) + 1):
                run = " ".join(words[first:last])
                if run in self.words or run.startswith(self.starts) or self._is_broken(words[first:last]):
                    return run
        return next((word for word in self.inside if word in segment), None)

    def _is_broken(self, words: list[str]) -> bool:
        """Whether these are the pieces of one word."""
        joined = "".join(words)
        known = joined in self.inside or (len(joined) >= _LEAST_LETTERS and joined in self.words)
        return 1 < len(words) < 4 and known


@functools.lru_cache(maxsize=65536)
def minor_sign(text: str) -> str | None:
    """What in a tag or a text codes a minor; None: nothing does."""
    return _first(text, _codes_minor)


@functools.lru_cache(maxsize=65536)
def sexual_sign(text: str) -> str | None:
    """What in a tag or a text is sexual; None: nothing is."""
    return _first(text, _family("sexual").sign)


@functools.lru_cache(maxsize=65536)
def is_sign(tag: str) -> bool:
    """Whether the rule knows a tag, as the one sign or the other."""
    return minor_sign(tag) is not None or sexual_sign(tag) is not None


@functools.lru_cache(maxsize=65536)
def rating_kind(name: str, *, head: bool) -> Literal["sexual", "safe"] | None:
    """What a rating says, in any board's spelling; None: it is none.

    Args:
        name: of a label.
        head: whether it is one of a rating head's, whose labels need not say that they are ratings.
    """
    said = plain(name)
    bare = re.sub(r"^(?:meta )?rat(?:ing|ed) ", "", said)
    if bare == said and not head:
        return None
    return next((kind for kind in ("sexual", "safe") if bare in _ratings(kind)), None)


def names(tag: str, side: Side) -> bool:
    """Whether a tag names one side as such: a minor, and not a thing or a garment that goes with one; nudity or sex."""
    return plain(tag) in _subjects(side)


def _first(text: str, sign: Callable[[str], str | None]) -> str | None:
    for segment in segments(text):
        if _found(segment, sign) and (found := _found(_harmless().sub("·", segment), sign)):
            return found
    return None


def _found(segment: str, sign: Callable[[str], str | None]) -> str | None:
    return next(filter(None, map(sign, readings(segment))), None)


def _codes_minor(segment: str) -> str | None:
    return _family("minor").sign(segment) or age_of_a_minor(segment)


@functools.cache
def _family(side: Side) -> _Family:
    table: dict[str, list[str]] = content_words()[side]
    words, starts = _plain_words(table["words"], star=False), _plain_words(table["words"], star=True)
    inside, whole = map(plain, table["inside"]), map(plain, table["whole"])
    return _Family(words, tuple(sorted(starts)), tuple(inside), frozenset(whole))


@functools.cache
def _ratings(kind: Literal["sexual", "safe"]) -> frozenset[str]:
    return frozenset(map(plain, content_words()["ratings"][kind]))


@functools.cache
def _subjects(side: Side) -> frozenset[str]:
    return frozenset(map(plain, content_words()["subjects"][side]))


@functools.cache
def _harmless() -> re.Pattern[str]:
    """What is taken out of a segment before its words count, and no more of it than that."""
    return re.compile("|".join(_harmless_pattern(phrase) for phrase in content_words()["harmless"]))


def _harmless_pattern(phrase: str) -> str:
    head, _, end = phrase.partition(" ... ")
    ending = "[^ ]*" if phrase.endswith("*") else ""
    if not plain(head).isascii():  # a script without spaces
        return re.escape(plain(head))
    after = f"(?=(?: [^ ]+){{0,3}} {re.escape(plain(end))} )" if end else ""
    return f"(?<= ){re.escape(plain(head))}{ending}(?= ){after}"


def _plain_words(words: Iterable[str], *, star: bool) -> frozenset[str]:
    return frozenset(plain(word) for word in words if word.endswith("*") == star)
