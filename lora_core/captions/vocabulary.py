"""Tags that boorus, and so the models trained on them, know: for finding misspelt ones."""

import difflib
import functools
from collections.abc import Collection
from importlib import resources

from lora_core.captions import taxonomy
from lora_core.captions.content import is_sign

_NEAR = 0.75
# A tag that differs by a letter from one of the vocabulary is misspelt, even where a family's pattern would take it.
_VERY_NEAR = 0.9


@functools.cache
def known_tags() -> frozenset[str]:
    """The general tags of a WD14 label table."""
    text = resources.files("lora_core.captions").joinpath("vocabulary.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def is_known(tag: str, seen: Collection[str] = ()) -> bool:
    """Whether a canonical tag is in the vocabulary, among those a tagger gave, or at least in the taxonomy."""
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
    return (
        taxonomy.family_of(tag) is not None or taxonomy.is_framing(tag) or taxonomy.belongs_nowhere(tag) or is_sign(tag)
    )
