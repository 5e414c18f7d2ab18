"""Ages below eighteen in a text's plain spelling: in figures and in words, in years, grades and bounds."""

import functools
import re
from collections.abc import Iterable

from lora_core.captions.plain_text import content_words, plain

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
    words = _one_of(word for names in ages["numbers"].values() for word in names)
    tens = "".join(f"(?<! {re.escape(plain(ten))} )" for ten in ages["tens"])
    number = rf"(?:(?<!\d){_FIGURES}(?!\d)|(?<= ){tens}{words})"
    of_things = rf"(?! {_one_of(ages['not_of'])} )"
    years, small = _one_of(ages["units"]), _one_of(ages["small_units"])
    ordinals, under = _one_of(ages["ordinals"]), _one_of(ages["under"])
    kinds = (
        rf"{number} ?{years}(?= ){of_things}",
        rf"(?<!\d){_ANY_FIGURES} ?{small}(?= ){of_things}",
        rf"(?<!\d){_FIGURES} ?{_one_of(ages['signs'])}(?![기대])",
        rf"(?<= )of {number} years(?= )",
        _KOREAN,
        rf"(?<= ){_one_of(ages['before'])} ?{number}(?= )",
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
    return re.compile(rf"(?<= ){_one_of(content_words()['ages']['not_age'])}(?= )")


def _one_of(words: Iterable[str]) -> str:
    """Any of some words, the longest first; a final star stands for any ending."""
    plain_words = sorted(((plain(word), word.endswith("*")) for word in words), key=lambda each: -len(each[0]))
    return f"(?:{'|'.join(re.escape(word) + ('[^ ]*' if star else '') for word, star in plain_words)})"
