"""The proof on a base that does not know the look, neither to draw nor by name: there captions cannot keep it out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from demo.project import MODELS
from demo.proof.arms import (
    AUTO,
    OTHERS_KEPT,
    PLAIN,
    RECOMMENDED,
    TEACHING,
    overlaid,
    read_arm,
    recipe_of,
)
from demo.proof.pairs import PAIRS
from demo.proof.results import Aside, Asked
from demo.proof.run import make, store_of
from demo.proof.scope import Scope, drawn, on_four_pairs
from flows.graph import peek
from lora_core.device import use_threads
from lora_core.judging.look import LookReport
from lora_core.store.files import write_atomically
from tasks.look import LOOK_PICTURE, read_look

UNKNOWN_LOOK: Final[Aside] = "unknown-look"
IN_QUESTION: Final = ("captions-only", RECOMMENDED, "note-gentle", "merge-gentle", "named-look", *TEACHING)
"""What may keep the look out: words all the same, the look learned first, and both redrawn."""
ARMS: Final = (*PLAIN, *IN_QUESTION, OTHERS_KEPT)
BASES: Final = {"shipped": MODELS / "base", "forgetful": Path("base")}
"""What is asked for its words; the second one lies in the proof's folder."""


def make_base(out: Path, say: Callable[[str], None]) -> None:
    """Train the base that does not know the look, where it is missing."""
    base = out / BASES["forgetful"]
    if not base.exists():
        from demo.train.forget import forgetful_base

        say(f"{base}: trained until the look is forgotten, about 15 minutes of one core")
        forgetful_base(MODELS / "base", base)


def on_forgetful_base(covered: Scope, out: Path) -> Scope:
    """The same arms on four pairs, with one training seed, on the base of `make_base`."""
    return on_four_pairs(on_base(covered, out / BASES["forgetful"]), UNKNOWN_LOOK)


def on_base(covered: Scope, base: Path) -> Scope:
    """The same arms on another base."""
    return replace(covered, shared=overlaid(covered.shared, {"base": str(base)}))


def asked(covered: Scope, out: Path, *, draw: bool) -> tuple[Asked, ...]:
    """What both bases know of the look of the first pair, as method `auto` asks them; their pictures go to `out`.

    Args:
        covered: of `on_forgetful_base`.
        out: the proof's folder.
        draw: whether pictures that are missing are drawn; otherwise a base of which some are is left out.
    """
    use_threads(1)  # as in a lane
    found = []
    for name, folder in BASES.items():
        base = out / folder  # an absolute path stays what it is
        if answer := asked_one(covered, base, out, draw=draw):
            report, picture = answer
            found.append(Asked(base=name, report=report))
            write_atomically(out / f"{name}-{LOOK_PICTURE}", picture)
    return tuple(found)


def asked_one(covered: Scope, base: Path, out: Path, *, draw: bool) -> tuple[LookReport, bytes] | None:
    """What a base knows of the look of the first pair, and the picture of it; None: not drawn, and not to be."""
    at, pair = store_of(out), PAIRS[0]
    shared = on_base(covered, base).shared
    recipe = recipe_of(read_arm(AUTO), shared, pair, 1, drawn(covered, out / "world")(pair))
    if draw and not peek(recipe, at, "look").is_finished:
        make(recipe, at, "look")
    peeked = peek(recipe, at, "look")
    if not peeked.is_finished or not peeked.artifacts.look:
        return None
    picture = at.open_store().tree(peeked.artifacts.look.sha256)[LOOK_PICTURE]
    return read_look(peeked.artifacts.look, at), picture.read_bytes()
