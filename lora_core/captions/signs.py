"""Whether a word or a tag is one of the content rule's signs. What it knows is data: content_words.json."""

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from lora_core.captions.ages import age_of_a_minor
from lora_core.captions.plain_text import content_words, plain, readings, segments

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
