"""The content rule: adult or non-sexual characters only. It has no switch, no threshold of its own and no option.

Everything that goes into one LoRA, one merge or one drawing is looked at together: one picture that codes a minor and
another that is sexual, in the character's set or in the style's, are refused, and so is a prompt, a trigger, a name or
what a LoRA was trained on that says the one or the other. Only negative prompts are not asked: they say what is not
wanted. What counts as a sign is in content_words.json.
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import NamedTuple

from lora_core.captions.signs import minor_sign, rating_kind, sexual_sign
from lora_core.dataset import Manifest, Scores, TagTable
from lora_core.errors import ContentRuleError

# Fixed, so that the caption threshold cannot move it, and below the point where precision equals recall of every
# published WD14 tagger (.26 for the v3 ViT, .27 v3 swin, .38 v2 swin, .53 v3 EVA02): what the tagger itself would call
# present counts, whichever tagger the recipe names. Ratings are outputs of the same sigmoids, of which one is true of a
# picture: that one of the sexual ones is, is as likely as their sum.
_PRESENT = 0.25
_LONGEST = 60


class Said(NamedTuple):
    """A text, and where it was found: in words for a person."""

    where: str
    text: str


class _Signs(NamedTuple):
    """Of one text or tag: what in it codes a minor, and what is sexual."""

    where: str
    minor: str | None
    sexual: str | None


def check(sets: Iterable[tuple[Manifest, TagTable]], words: Iterable[str | Said] = ()) -> None:
    """Refuse what is sexual and codes a minor.

    Tags are taken from the raw scores and from the captions, so that no edit hides them.

    Args:
        sets: pictures, with or without captions, and their raw scores.
        words: triggers, names, class words, prompts: whatever is said of the characters, but not negative prompts.

    Raises:
        ContentRuleError: nothing may be made of this.
    """
    minor = sexual = ""
    for found in (*_in_words(words), *_in_sets(sets)):
        minor = minor or (f"{found.where} codes a minor ({found.minor})" if found.minor else "")
        sexual = sexual or (f"{found.where} is sexual ({found.sexual})" if found.sexual else "")
        if minor and sexual:
            raise ContentRuleError(
                f"content rule: {minor} and {sexual}. Nothing is trained, merged or drawn from both, and nothing "
                "turns this rule off"
            )


@functools.lru_cache(maxsize=65536)
def is_sign(tag: str) -> bool:
    """Whether the rule knows a tag, as the one sign or the other."""
    return minor_sign(tag) is not None or sexual_sign(tag) is not None


def named(name: str) -> Said:
    """The own name of a model, a folder or a repository, without what is above it and without a commit."""
    own = PurePath(name.partition("@")[0]).name
    return Said(f"the name {own}", own)


def _in_words(words: Iterable[str | Said]) -> Iterator[_Signs]:
    for each in words:
        said = each if isinstance(each, Said) else Said(f"'{_shortened(each)}'", each)
        yield _Signs(_shortened(said.where), minor_sign(said.text), sexual_sign(said.text))


def _in_sets(sets: Iterable[tuple[Manifest, TagTable]]) -> Iterator[_Signs]:
    for manifest, table in sets:
        if manifest.entries and table.floor > _PRESENT:
            raise ContentRuleError(
                f"content rule: these scores leave out what is less likely than {table.floor:g}, and what is likelier "
                f"than {_PRESENT:g} must be known; tag the pictures with `headcanon tag`"
            )
        for entry in manifest.entries:
            scores, where = table.of(entry), _shortened(entry.source)
            yield from _in_words((Said(f"the name {where}", entry.source),))
            yield _Signs(where, None, _sexual_rating(scores))
            for tag in sorted(filter(is_sign, {*_present(scores), *(entry.caption or ())})):
                what = _shortened(tag)
                yield _Signs(where, what if minor_sign(tag) else None, what if sexual_sign(tag) else None)


def _present(scores: Scores) -> Iterator[str]:
    for found in (scores.general, scores.character):
        yield from (tag for tag, score in found.items() if score >= _PRESENT)


def _sexual_rating(scores: Scores) -> str | None:
    """The likeliest of the sexual ratings, if one of them is as likely as a tag that counts."""
    found = {name: score for name, score in scores.rating.items() if rating_kind(name, head=True) == "sexual"}
    for tags in (scores.general, scores.character):
        found.update((tag, score) for tag, score in tags.items() if _is_sexual_rating(tag))
    return f"rating {max(found, key=lambda name: found[name])}" if sum(found.values()) >= _PRESENT else None


@functools.lru_cache(maxsize=65536)
def _is_sexual_rating(tag: str) -> bool:
    return rating_kind(tag, head=False) == "sexual"


def _shortened(text: str) -> str:
    """A text that others wrote, fit for one line of a message."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    return shown if len(text) <= _LONGEST else f"{shown}…"
