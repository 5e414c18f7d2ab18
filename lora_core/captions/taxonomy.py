"""Families of tags and the tags that boorus know. The knowledge is data: taxonomy.json, vocabulary.txt."""

import difflib
import functools
import json
import re
from collections.abc import Collection
from importlib import resources
from typing import Any

from lora_core.captions.signs import is_sign


@functools.cache
def _data() -> dict[str, Any]:
    text = resources.files("lora_core.captions").joinpath("taxonomy.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


@functools.cache
def _pattern(*place: str) -> re.Pattern[str]:
    found: Any = _data()
    for name in place:
        found = found[name]
    return re.compile(found if isinstance(found, str) else "|".join(f"(?:{one})" for one in found))


def families() -> tuple[str, ...]:
    """The names of all families, in the order in which they claim tags."""
    return tuple(_data()["families"])


def groups() -> dict[str, tuple[str, ...]]:
    """Families under one name: `body`, `accessories`."""
    return {name: tuple(members) for name, members in _data()["groups"].items()}


@functools.lru_cache(maxsize=65536)
def family_of(tag: str) -> str | None:
    """The family of a canonical tag: the first that takes it; None for clothes, poses, places and expressions."""
    if _pattern("keep").fullmatch(tag):
        return None
    return next((name for name in families() if _pattern("families", name).fullmatch(tag)), None)


def is_framing(tag: str) -> bool:
    """Whether a tag says how much of the figure is in the picture."""
    return _pattern("framing").fullmatch(tag) is not None


def is_foreign(tag: str) -> bool:
    """Whether a tag is about the file, its maker or another version of the character, not about what is drawn."""
    return _pattern("drop").fullmatch(tag) is not None


@functools.cache
def implied_by(tag: str) -> frozenset[str]:
    """Families that a trait brings along: an elf has pointy ears, a cat girl ears and a tail."""
    found = (families for pattern, families in _data()["implied"].items() if re.fullmatch(pattern, tag))
    return frozenset(family for families in found for family in families)


def is_hidden(tag: str, beside: Collection[str]) -> bool:
    """Whether a trait cannot be seen on a picture with these tags, such as a colour of closed eyes."""
    family = family_of(tag) or ""
    for rule in _data()["hidden"]:
        takes = (re.fullmatch(rule["families"], family), re.fullmatch(rule.get("tags", ""), tag))
        if any(takes) and any(re.fullmatch(rule["by"], other) for other in beside):
            return True
    return False


def is_telling(tag: str) -> bool:
    """Whether a trait tells one character from another at a glance: colours, how hair is tied, ears, horns, tails.

    Length of hair and details such as bangs do not: taggers read them differently from one framing to the next.
    """
    family = family_of(tag)
    return family is not None and bool(
        _pattern("telling", "families").fullmatch(family) or _pattern("telling", "tags").fullmatch(tag)
    )


def is_clothes(tag: str) -> bool:
    """Whether a tag names something worn that is no accessory."""
    return (
        family_of(tag) is None
        and not _pattern("keep").fullmatch(tag)
        and _pattern("clothes").fullmatch(tag) is not None
    )


_NEAR = 0.75
# A tag that differs by a letter from one of the vocabulary is misspelt, even where a family's pattern would take it.
_VERY_NEAR = 0.9


@functools.cache
def known_tags() -> frozenset[str]:
    """The general tags of a WD14 label table."""
    text = resources.files("lora_core.captions").joinpath("vocabulary.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def is_known(tag: str, seen: Collection[str] = ()) -> bool:
    """Whether a canonical tag is in the vocabulary, among those a tagger gave, or at least of a known family."""
    return tag in known_tags() or tag in seen or (_is_classed(tag) and not _nearest(tag, _VERY_NEAR))


def misspelt(tag: str, seen: Collection[str]) -> str | None:
    """The nearest known tag if this one is unknown, "" if none is near; None if it is known."""
    return None if is_known(tag, seen) else nearest(tag, seen)


def nearest(tag: str, seen: Collection[str] = ()) -> str:
    """The known tag most like this one, those of the set at hand first; "" if none is near."""
    near = difflib.get_close_matches(tag, seen, n=1, cutoff=_NEAR)
    return near[0] if near else _nearest(tag, _NEAR)


@functools.lru_cache(maxsize=4096)
def _nearest(tag: str, least: float) -> str:
    near = difflib.get_close_matches(tag, sorted(known_tags()), n=1, cutoff=least)
    return near[0] if near else ""


def _is_classed(tag: str) -> bool:
    return family_of(tag) is not None or is_framing(tag) or is_foreign(tag) or is_sign(tag)
