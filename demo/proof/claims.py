"""What the figures allow to be said, by rules that were written down before the figures (docs/adr/0018)."""

from collections.abc import Iterable, Sequence
from typing import Final, get_args

from demo.proof.arms import NAIVE, RECOMMENDED
from demo.proof.measures import ADHERENCE, IDENTITY, LEAK
from demo.proof.results import ArmFigures, Best, ClaimStatus, Contrast, Interval
from lora_core.judging.bootstrap import Score

ENOUGH_PAIRS: Final = 8
ENOUGH_SEEDS: Final = 2
IDENTITY_MARGIN: Final = 0.02
"""Losing less identity than this counts as losing none; so does gaining less as gaining none."""
LEAK_MARGIN: Final = 0.02
MOST_LEAK: Final = 0.10
"""Up to which the look counts as out, by the upper end of the interval."""
_DIGITS: Final = 4


def claim(found: Contrast | None) -> ClaimStatus:
    """How an arm stands against a plain LoRA, by whole intervals: more of the character and less of the look?

    `beats`: both. `keeps`: no less of the character, less of the look. `refuted`: less of the character, or no less of
    the look. `undecided`: the intervals allow both. `untested`: fewer than two pairs.
    """
    if found is None or found.pairs < 2:
        return "untested"
    identity, leak = found.differences[IDENTITY], found.differences[LEAK]
    if identity.high < -IDENTITY_MARGIN or leak.low >= 0:
        return "refuted"
    if leak.high < 0 and identity.low >= -IDENTITY_MARGIN:
        return "beats" if identity.low > 0 else "keeps"
    return "undecided"


def claim_against(contrasts: Iterable[Contrast]) -> ClaimStatus:
    """What holds against each of several: the weakest claim of those that are tested."""
    found = {claim(one) for one in contrasts}
    weakest_last = get_args(ClaimStatus)
    return max(found - {"untested"}, key=weakest_last.index, default="untested")


def best(arms: Sequence[ArmFigures], contrasts: Sequence[Contrast]) -> Best | None:
    """The recommended arm against naive; None where one of them has not run."""
    arm = next((one for one in arms if one.name == RECOMMENDED), None)
    found = next((one for one in contrasts if (one.arm, one.against) == (RECOMMENDED, NAIVE)), None)
    if not arm or not found:
        return None
    seeds = [len({run.seed for run in arm.runs if run.pair == pair}) for pair in arm.pairs]
    return Best(
        arm=RECOMMENDED,
        delta_identity=_interval(found.differences[IDENTITY]),
        leak=_interval(arm.last.figures[LEAK]),
        adherence=round(arm.last.figures[ADHERENCE].mean, _DIGITS),
        pairs=found.pairs,
        seeds=min(seeds),
    )


def advised(arms: Sequence[ArmFigures], among: Sequence[str]) -> ArmFigures | None:
    """Of several arms the one to use, as the judge chooses: highest lower end of identity where the look is out.

    Else the least look.
    """
    found = [arm for arm in arms if arm.name in among]
    out = [arm for arm in found if arm.last.figures[LEAK].high <= MOST_LEAK]
    if out:
        return max(out, key=lambda arm: arm.last.figures[IDENTITY].low)
    return min(found, key=lambda arm: arm.last.figures[LEAK].mean, default=None)


def cannot_win(found: Contrast | None) -> bool:
    """Whether an arm is dropped: behind the recommended one in identity or leak for sure, and ahead in neither.

    For sure: the difference holds among all arms that are compared. Ahead: by more than a margin.
    """
    if found is None:
        return False
    identity, leak = found.differences[IDENTITY], found.differences[LEAK]
    behind = (found.differs(IDENTITY) and identity.mean < 0) or (found.differs(LEAK) and leak.mean > 0)
    return behind and identity.mean < IDENTITY_MARGIN and leak.mean > -LEAK_MARGIN


def _interval(score: Score) -> Interval:
    return round(score.mean, _DIGITS), round(score.low, _DIGITS), round(score.high, _DIGITS)
