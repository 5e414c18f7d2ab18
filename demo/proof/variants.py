"""The proof of redrawing's parts: what each does for the recommended arm, on four pairs with one training seed."""

from dataclasses import replace
from typing import Final

from demo.proof.arms import BEGUN, NAIVE, OTHERS_KEPT, RECOMMENDED
from demo.proof.pairs import PAIRS, few
from demo.proof.scope import Scope

PARTS: Final = (
    "redraw-unselected", "redraw-unnamed", "redraw-19-pictures", "redraw-76-pictures", "redraw-epochs-3",
    "redraw-two-rounds", "redraw-screenshots-20", OTHERS_KEPT,
)  # fmt: skip
"""One part of redrawing taken away, or more or less of it."""
ARMS: Final = (NAIVE, "captions-only", RECOMMENDED, *BEGUN, *PARTS)


def on_four_pairs(covered: Scope) -> Scope:
    """The same arms on four pairs with different style characters, with one training seed."""
    return replace(covered, pairs=few(PAIRS), seeds=(1,), redraw=True)
