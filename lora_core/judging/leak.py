"""How much of the 3D look came along: how far on the way from the base's own pictures to these very screenshots.

What a tagger gives a look differs by tagger and creator: one sees `3d` at .99; another knows no `3d` and gives the same
pictures `realistic` .35 and `nose` .25. A LoRA that copies the look whole then moves the mean of the probabilities by
little and looks clean. As a share of the way it moves by 1, whatever the tagger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.judging.bootstrap import nested
from lora_core.recipe import LEAK_TAGS
from lora_core.sampling.samples import Sample

LEAST_WAY = 0.15
"""An instrument that gives the screenshots no more than this above the base's own pictures does not see the look."""

MOST_SCATTER = 0.25
"""Of the way: tags by which the base's own pictures differ more than this (the default bound of leak) hardly see the
look. Twelve pictures keep one clean LoRA in two out by them, and a classifier that sees it better is asked instead."""

Reader = Callable[[Sample], float]


class LookWord(Frozen):
    """One instrument's reading of the look: a tag, the auxiliary classifier's class, the embedder's similarity."""

    name: str
    base: float = Field(description="Mean over the base's own pictures, of prompts that do not ask for it.")
    screenshots: float = Field(description="Mean over the screenshots.")

    @property
    def way(self) -> float:
        """From the base's own pictures to the screenshots."""
        return self.screenshots - self.base


@dataclass(frozen=True)
class Instrument:
    """What reads the look off a picture, and what it reads off the screenshots.

    Attributes:
        word: its name and means.
        read: a sample's value.
        is_asked: whether a sample's prompt asks for it, which says nothing of the LoRA then.
    """

    word: LookWord
    read: Reader
    is_asked: Callable[[Sample], bool]

    def shares(self, pairs: Sequence[tuple[Sample, Sample]]) -> list[float | None]:
        """The share of the way that each sample went from its own base picture; None where the prompt asks for it."""
        return [
            None if self.is_asked(drawn) else (self.read(drawn) - self.read(base)) / self.word.way
            for drawn, base in pairs
        ]


@dataclass(frozen=True)
class Look:
    """The instruments that see the look in the screenshots; empty: it cannot be measured.

    Attributes:
        instruments: all of one kind: tags if any sees it well enough, else the classifier, else the embedder.
        tried: every reading, also of those that do not see it.
    """

    instruments: tuple[Instrument, ...] = ()
    tried: tuple[LookWord, ...] = ()

    def leak(self, pairs: Sequence[tuple[Sample, Sample]]) -> list[float | None]:
        """Each sample's share of the way, by the instrument that surely says more than all together; else by all.

        Of several the one is asked whose interval has the highest lower end. Where it says no more than the others but
        by chance, all read the same look, and together they are the least noisy: the largest alone would make noise of
        a clean LoRA's leak.
        """
        each, together = [instrument.shares(pairs) for instrument in self.instruments], self.together(pairs)
        measured = [shares for shares in each if any(share is not None for share in shares)]
        most = max(measured, key=lambda shares: _lower_end(shares, pairs), default=together)
        more = [None if one is None or all_ is None else one - all_ for one, all_ in zip(most, together, strict=True)]
        return most if measured and _lower_end(more, pairs) > 0 else together

    def together(self, pairs: Sequence[tuple[Sample, Sample]]) -> list[float | None]:
        """Each sample's share of all instruments' ways, laid end to end."""
        each = [(instrument.word.way, instrument.shares(pairs)) for instrument in self.instruments]
        found: list[float | None] = []
        for number in range(len(pairs)):
            known = [(way, shares[number]) for way, shares in each]
            asked = [(way, share) for way, share in known if share is not None]
            found.append(sum(way * share for way, share in asked) / sum(way for way, _ in asked) if asked else None)
        return found


def _lower_end(shares: Sequence[float | None], pairs: Sequence[tuple[Sample, Sample]]) -> float:
    found = [
        (share, (drawn.prompt_index,)) for share, (drawn, _) in zip(shares, pairs, strict=True) if share is not None
    ]
    return nested([share for share, _ in found], [place for _, place in found]).low


def find_look(
    base: Sequence[Sample],
    tags: Mapping[str, tuple[Reader, float]],
    classifier: tuple[str, Reader, float] | None,
    embedder: tuple[str, Reader, float] | None,
    asked: Callable[[Sample], Sequence[str]],
) -> Look:
    """Choose what measures the look.

    Args:
        base: samples without the LoRA.
        tags: look tags that the tagger knows: how to read a sample, and their mean over the screenshots.
        classifier: takes over where no tag sees the look, or the tags hardly do: name, reader, the screenshots' mean.
        embedder: takes over where neither sees it. Never for one that does: its way holds the character as well.
        asked: the canonical tags that a sample's prompt names.
    """
    by_tag = [
        _instrument(base, name, read, mean, partial(_asks, asked, (name,))) for name, (read, mean) in tags.items()
    ]
    by_model = [
        _instrument(base, *other, partial(_asks, asked, LEAK_TAGS)) if other else None
        for other in (classifier, embedder)
    ]
    tried = tuple(one.word for one in (*by_tag, *by_model) if one)
    seen, by_class, by_embedder = (
        tuple(one for one in each if one and one.word.way >= LEAST_WAY) for each in (by_tag, by_model[:1], by_model[1:])
    )
    scatter = _scatter(seen, base)
    if by_class and scatter > MOST_SCATTER and _scatter(by_class, base) < scatter:
        seen = by_class
    return Look(seen or by_class or by_embedder, tried)


def _scatter(seen: Sequence[Instrument], base: Sequence[Sample]) -> float:
    """The deviation of the base's own pictures by these instruments together, as a share of their way."""
    shares = []
    for sample in base:
        known = [one for one in seen if not one.is_asked(sample)]
        if known:
            off = sum(one.read(sample) - one.word.base for one in known)
            shares.append(off / sum(one.word.way for one in known))
    return stdev(shares) if len(shares) > 1 else 0.0


def _asks(asked: Callable[[Sample], Sequence[str]], words: Sequence[str], sample: Sample) -> bool:
    return any(tag in words for tag in asked(sample))


def _instrument(
    base: Sequence[Sample], name: str, read: Reader, screenshots: float, is_asked: Callable[[Sample], bool]
) -> Instrument | None:
    """None: every prompt asks for it."""
    values = [read(sample) for sample in base if not is_asked(sample)]
    if not values:
        return None
    return Instrument(LookWord(name=name, base=fmean(values), screenshots=screenshots), read, is_asked)
