"""Do the instruments say of samples what a person says who does not know which arm drew them?"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from demo.proof.families import LOOKS_OF_A_CHARACTER
from lora_core.dataset import Frozen

LOOK: Final = "3D look"
PROBE_LOOK: Final = "3D look (probe)"
TRAITS: Final = tuple(LOOKS_OF_A_CHARACTER)


class Labelled(Frozen):
    """One sample: what was seen, and what the instruments read.

    Attributes:
        arm: which drew it; the person who looked did not know.
        pair: who should be in it.
        seen: trait family → whether the trait is the character's, and the 3D look; what could not be told is left out.
        read: the same, by the instruments.
    """

    arm: str
    pair: str
    seen: Mapping[str, bool]
    read: Mapping[str, bool]


class Kappa(Frozen):
    """One question over all pictures in which a person could answer it."""

    question: str
    agree: int
    of: int
    kappa: float | None = None


class SeenOfArm(Frozen):
    """What a person and the instruments say of one arm."""

    arm: str
    pictures: int
    traits_seen: float
    traits_read: float
    look_seen: float
    look_read: float


class Agreement(Frozen):
    """A person's labels beside the instruments'."""

    pictures: int
    pairs: int
    questions: tuple[Kappa, ...]
    arms: tuple[SeenOfArm, ...]


def agreement(labelled: Sequence[Labelled]) -> Agreement:
    """Agreement question by question, and both judgements arm by arm.

    Raises:
        ValueError: there is no picture.
    """
    if not labelled:
        raise ValueError("no labelled picture")
    kappas = (
        kappa(name, [(one.seen[name], one.read[name]) for one in labelled if name in one.seen])
        for name in (*TRAITS, LOOK, PROBE_LOOK)
    )
    arms = dict.fromkeys(sorted(one.arm for one in labelled))
    return Agreement(
        pictures=len(labelled),
        pairs=len({one.pair for one in labelled}),
        questions=tuple(found for found in kappas if found.of),
        arms=tuple(_of_arm(arm, [one for one in labelled if one.arm == arm]) for arm in arms),
    )


def kappa(question: str, answers: Sequence[tuple[bool, bool]]) -> Kappa:
    """Agreement beyond chance (Cohen 1960); without a kappa where both always give one and the same answer."""
    agree, count = sum(seen == read for seen, read in answers), len(answers)
    seen, read = (sum(each) for each in zip(*answers, strict=True)) if answers else (0, 0)
    by_chance = (seen * read + (count - seen) * (count - read)) / count**2 if count else 1.0
    value = None if by_chance == 1 else round((agree / count - by_chance) / (1 - by_chance), 4)
    return Kappa(question=question, agree=agree, of=count, kappa=value)


def _of_arm(arm: str, labelled: Sequence[Labelled]) -> SeenOfArm:
    def share(names: Sequence[str], *, read: bool) -> float:
        found = [(one.read if read else one.seen)[name] for one in labelled for name in names if name in one.seen]
        return round(fmean(found), 4) if found else 0.0

    return SeenOfArm(
        arm=arm,
        pictures=len(labelled),
        traits_seen=share(TRAITS, read=False),
        traits_read=share(TRAITS, read=True),
        look_seen=share((LOOK,), read=False),
        look_read=share((LOOK,), read=True),
    )
