"""Is a LoRA that was trained again at least as good as the one it would follow?"""

from collections.abc import Sequence

from pydantic import Field

from lora_core.dataset import Frozen
from lora_core.judging.bootstrap import Figure
from lora_core.judging.scores import EpochFigures


class Bounds(Frozen):
    """How much worse a new version may be before the old one stays; figures lie between 0 and 1."""

    identity: float = Field(default=0.05, ge=0, le=1, description="Identity may be lower by this much.")
    leak: float = Field(default=0.05, ge=0, le=1, description="The look, background, habits and copies: higher.")


class Compared(Frozen):
    """One figure of both."""

    name: str
    before: float
    after: float
    bound: float
    worse: bool

    @property
    def line(self) -> str:
        """In words."""
        kept = f"worse by more than {self.bound:g}" if self.worse else "not worse"
        return f"{self.name} {self.before:.2f} → {self.after:.2f}: {kept}"


class Succession(Frozen):
    """Whether the new one takes the old one's place, figure by figure."""

    takes_over: bool
    compared: tuple[Compared, ...]
    not_compared: tuple[str, ...] = Field(description="Figures that one of the two lacks; they bar nothing.")


def compare(before: EpochFigures, after: EpochFigures, bounds: Bounds) -> Succession:
    """Compare what was published last with what would be published now.

    A figure counts as worse when its mean is beyond the bound *and* the two 95 % intervals do not overlap: a few
    samples tell no smaller difference apart from chance, and a retraining must not be held back by noise.

    Args:
        before: of the published epoch, at the published weight.
        after: of the new epoch, at its weight.
        bounds: how much worse is still good enough.
    """
    pairs: Sequence[tuple[str, Figure | None, Figure | None, float, bool]] = (
        ("identity", before.identity, after.identity, bounds.identity, True),
        ("leak of the look", before.leak, after.leak, bounds.leak, False),
        ("leak of the background", before.background, after.background, bounds.leak, False),
        ("leak of framing and pose", before.habits, after.habits, bounds.leak, False),
        ("share of copies", before.copying, after.copying, bounds.leak, False),
    )
    compared = tuple(
        Compared(name=name, before=old.mean, after=new.mean, bound=bound, worse=_worse(old, new, bound, higher))
        for name, old, new, bound, higher in pairs
        if old and new
    )
    missing = tuple(name for name, old, new, *_ in pairs if not (old and new))
    return Succession(takes_over=not any(one.worse for one in compared), compared=compared, not_compared=missing)


def _worse(old: Figure, new: Figure, bound: float, higher_is_better: bool) -> bool:
    loss = old.mean - new.mean if higher_is_better else new.mean - old.mean
    apart = new.high < old.low if higher_is_better else new.low > old.high
    return loss > bound and apart
