"""Proofs of the parts of a stage: what each does, on four pairs with one training seed."""

from collections.abc import Mapping
from typing import Final

from demo.proof.arms import BEGUN, NAIVE, OTHERS_KEPT, RECOMMENDED
from demo.proof.results import Aside

PARTS: Final = (
    "redraw-unselected", "redraw-unnamed", "redraw-19-pictures", "redraw-76-pictures", "redraw-epochs-3",
    "redraw-two-rounds", "redraw-screenshots-20", OTHERS_KEPT,
)  # fmt: skip
"""One part of redrawing taken away, or more or less of it."""
GENTLE: Final = "merge-gentle"
"""The style stage at the dose that the others change in one thing."""
WHOLE: Final = "note-gentle"
"""The whole method at that dose, with regularization pictures."""
DOSES: Final = (
    "merge-gentle-half", "merge-gentle-3-epochs", "merge-gentle-10-epochs", "merge-gentle-no-text-encoder",
    "merge-gentle-rank-8", WHOLE, "note-gentle-unmatched", "named-look", "named-look-crowd",
)  # fmt: skip
"""More or less of the look learned before the merge, regularization beside it, and a word for it."""
ON_MERGED: Final = (f"{GENTLE}-on-merged", f"{WHOLE}-on-merged")
"""The same LoRAs drawn where they were trained: is that training at fault, or the way back to the base?"""
UNMERGED: Final = ("naive-negative", "textual-inversion")
"""What keeps the look out without a merge."""
ARMS: Final[Mapping[Aside, tuple[str, ...]]] = {
    "redraw": (NAIVE, "captions-only", RECOMMENDED, f"{NAIVE}-redraw", *BEGUN, *PARTS),
    "style": (
        NAIVE,
        "captions-only",
        RECOMMENDED,
        *UNMERGED,
        GENTLE,
        *DOSES,
        *ON_MERGED,
        f"{GENTLE}-redraw",
        f"{WHOLE}-redraw",
    ),
}
