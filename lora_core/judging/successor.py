"""Is a LoRA that was trained again at least as good as the one it would follow?"""

from collections.abc import Iterator

from lora_core.judging.bootstrap import Figure
from lora_core.judging.gates import GateResult
from lora_core.judging.scores import EpochFigures
from lora_core.recipe import Publish


def successor_gates(before: EpochFigures, after: EpochFigures, name: str, bounds: Publish) -> Iterator[GateResult]:
    """Compare what was published last with what would be published now, figure by figure.

    A figure counts as worse when its mean is beyond the bound *and* the two 95 % intervals do not overlap: a few
    samples tell no smaller difference apart from chance, and a retraining must not be held back by noise.

    Args:
        before: of the published epoch, at the published weight.
        after: of the new epoch, at its weight.
        name: of the published LoRA.
        bounds: how much worse is still good enough.
    """
    for what, old, new, bound, sign in (
        ("identity", before.identity, after.identity, bounds.worse_identity, 1),
        ("leak of the look", before.leak, after.leak, bounds.worse_leak, -1),
        ("leak of the background", before.background, after.background, bounds.worse_leak, -1),
        ("leak of framing and pose", before.habits, after.habits, bounds.worse_leak, -1),
        ("share of copies", before.copying, after.copying, bounds.worse_leak, -1),
    ):
        yield _gate(what, old, new, bound, sign, name)


def _gate(what: str, old: Figure | None, new: Figure | None, bound: float, sign: int, name: str) -> GateResult:
    """Args: sign: 1 where more is better, -1 where less is."""
    if old is None or new is None:
        meaning = f"{what}: one of the two has no such figure"
        return GateResult(
            name=f"beside {name}", passed=True, figure=None, bound=0, at_least=True, meaning=meaning, advice=""
        )
    beyond = round(sign * (old.mean - new.mean) - bound, 9) > 0  # 0.9 - 0.85 is a little more than 0.05
    apart = new.high < old.low if sign > 0 else new.low > old.high
    return GateResult(
        name=f"beside {name}",
        passed=not (beyond and apart),
        figure=new.mean,
        bound=round(old.mean - sign * bound, 6),
        at_least=sign > 0,
        meaning=what,
        advice=f"{name} stays the last published version; more or better screenshots help, or another seed. The bounds "
        "are [publish] worse_identity and worse_leak; [gates] successor = 'off' publishes all the same",
        details=("may be chance: the two intervals overlap",) if beyond and not apart else (),
    )
