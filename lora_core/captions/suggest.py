"""A rule file to start from: what is probably the character, what is doubtful, what is worn."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lora_core.captions import taxonomy
from lora_core.captions.edit import Select
from lora_core.captions.tags import canonical, spaced
from lora_core.dataset import HEIGHTS, SIDES, Manifest, TagTable

_LEAST_SHARE = 0.4
"""A trait on at least this share of the pictures where it can be seen is probably the character's."""
_DOUBTFUL_SHARE = 0.1
_FEW_PICTURES = 3
_WIDTH = 110


@dataclass(frozen=True)
class Candidate:
    """A tag, its family ("": none), on how many pictures it is, and on how many it can or cannot be seen."""

    tag: str
    family: str
    pictures: int
    visible_on: int
    hidden_on: int

    @property
    def share(self) -> float:
        """Of the pictures where it could be seen."""
        return self.pictures / self.visible_on

    @property
    def figure(self) -> str:
        """The share in words."""
        return f"{self.pictures} of {self.visible_on}" + (" where it could show" if self.hidden_on else "")


@dataclass(frozen=True)
class Suggestion:
    """What a set of pictures says of its character; each the commonest first.

    Attributes:
        pictures: in the set.
        traits: probably the character, by family.
        strays: of the same families; they go with the traits.
        doubtful: traits on some pictures, or seen on too few to tell.
        clothes: on at least four in ten pictures.
        rest: everything else that stays in the captions.
    """

    pictures: int
    traits: tuple[Candidate, ...]
    strays: tuple[Candidate, ...]
    doubtful: tuple[Candidate, ...]
    clothes: tuple[Candidate, ...]
    rest: tuple[Candidate, ...]


def suggest(manifest: Manifest, tags: TagTable, select: Select) -> Suggestion:
    """Sort a set's tags into what is probably the character and what is not.

    Raises:
        DatasetError: the scores were made for other pictures.
    """
    found = _candidates(manifest, tags, select)
    families = {one.family for one in found if one.family and _is_probable(one)}
    return Suggestion(
        pictures=len(manifest.entries),
        traits=_by_family(one for one in found if one.family and _is_probable(one)),
        strays=_by_family(one for one in found if one.family in families and not _is_probable(one)),
        doubtful=_by_family(
            one
            for one in found
            if one.family and one.family not in families and (one.share >= _DOUBTFUL_SHARE or one.pictures > 1)
        ),
        clothes=tuple(one for one in found if taxonomy.is_clothes(one.tag) and one.share >= _LEAST_SHARE),
        rest=tuple(
            one for one in found if not one.family and not (taxonomy.is_clothes(one.tag) and one.share >= _LEAST_SHARE)
        ),
    )


def rule_file(suggestion: Suggestion, trigger: str) -> str:
    """The suggestion as the text of a captions.toml, with the figures as comments; the trigger may be empty."""
    return "\n".join(
        [
            f"# What the captions of this character leave out and say, suggested from {suggestion.pictures} pictures.",
            "# Read it and change it: it is yours. Tags may be written with spaces or underscores.",
            "",
            "# The word that calls the character: one that no model knows, such as hcmomo.",
            f"trigger = {json.dumps(trigger, ensure_ascii=False)}",
            "",
            "# What the character IS: these tags leave the captions, so that the trigger learns them. Each stands for",
            "# its whole family: blonde_hair takes every hair color out, a stray brown_hair too.",
            "memorize = [",
            *_entries(suggestion.traits, with_family=True),
            *_also_going(suggestion.strays),
            *_offered("Doubtful. Take away the # where it is the character's:", suggestion.doubtful, with_family=True),
            "]",
            "",
            "# Clothes that belong to the character: just these tags go, no families; * stands for anything, as in",
            "# *_dress. Clothes that stay in the captions can be changed by a prompt.",
            "outfit = [",
            *_offered("On most pictures:", suggestion.clothes, with_family=False),
            "]",
            "",
            "# Tags that stay although a family takes them; tags that go from every picture (* stands for anything).",
            "keep = []",
            "drop = []",
            "",
            *textwrap.wrap(
                "Stays in the captions: " + ", ".join(f"{spaced(one.tag)} {one.pictures}" for one in suggestion.rest),
                _WIDTH,
                initial_indent="# ",
                subsequent_indent="# ",
                break_on_hyphens=False,
            ),
            "",
        ]
    )


def _candidates(manifest: Manifest, tags: TagTable, select: Select) -> list[Candidate]:
    """Every tag that is about the picture, with its figures; the commonest first."""
    beside: list[set[str]] = []
    names: set[str] = set()
    for entry in manifest.entries:
        scores = tags.of(entry)
        names.update(canonical(tag) for tag in scores.character)
        said = {canonical(tag) for tag in select(scores)}
        beside.append({*said, *((entry.composition,) if entry.composition else ()), *(entry.view or ())})
    counts = Counter(tag for one in beside for tag in one)
    placed = {tag for tag in counts if taxonomy.is_framing(tag) or tag in (*SIDES, *HEIGHTS)}
    found = (
        Candidate(tag, taxonomy.family_of(tag) or "", count, len(beside) - hidden, hidden)
        for tag, count in counts.items()
        for hidden in (sum(tag not in one and taxonomy.is_hidden(tag, one) for one in beside),)
        if tag not in names and tag not in placed and not taxonomy.is_foreign(tag)
    )
    return sorted(found, key=lambda one: (-one.pictures, one.tag))


def _is_probable(one: Candidate) -> bool:
    return one.share >= _LEAST_SHARE and one.visible_on >= _FEW_PICTURES


def _by_family(found: Iterable[Candidate]) -> tuple[Candidate, ...]:
    order = taxonomy.families()
    return tuple(sorted(found, key=lambda one: (order.index(one.family), -one.pictures, one.tag)))


def _entries(found: tuple[Candidate, ...], *, with_family: bool, mark: str = "") -> Iterator[str]:
    names = [f"{mark}{json.dumps(one.tag, ensure_ascii=False)}," for one in found]
    width = max((len(name) for name in names), default=0)
    for name, one in zip(names, found, strict=True):
        family = f"{spaced(one.family)}, " if with_family else ""
        yield f"    {name:<{width}}  # {family}{one.figure}"


def _also_going(strays: tuple[Candidate, ...]) -> Iterator[str]:
    if strays:
        text = "Going with their families: " + ", ".join(f"{spaced(one.tag)} {one.pictures}" for one in strays)
        yield from textwrap.wrap(
            text, _WIDTH, initial_indent="    # ", subsequent_indent="    # ", break_on_hyphens=False
        )


def _offered(title: str, found: tuple[Candidate, ...], *, with_family: bool) -> Iterator[str]:
    if found:
        yield f"    # {title}"
        yield from _entries(found, with_family=with_family, mark="# ")
