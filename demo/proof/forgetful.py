"""The proof on a base that does not know the look, neither to draw nor by name: there captions cannot keep it out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from demo.project import MODELS
from demo.proof.arms import AUTO, PLAIN, RECOMMENDED, TEACHING, overlaid, read_arm, recipe_of
from demo.proof.pairs import PAIRS, few
from demo.proof.results import Asked
from demo.proof.run import make, store_of
from demo.proof.scope import Scope, drawn
from flows.graph import peek
from lora_core.device import use_threads
from lora_core.store.files import write_atomically
from tasks.look import LOOK_PICTURE, read_look

IN_QUESTION: Final = ("captions-only", RECOMMENDED, "note-gentle", "merge-gentle", "named-look", *TEACHING)
"""What may keep the look out: words all the same, the look learned first, and both redrawn."""
ARMS: Final = (*PLAIN, *IN_QUESTION)
_GATE_PROMPTS: Final = 60
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
    shared = overlaid(covered.shared, {"base": str(out / BASES["forgetful"])})
    return replace(covered, shared=shared, pairs=few(PAIRS), seeds=(1,), gate_prompts=_GATE_PROMPTS, forgetful=True)


def asked(covered: Scope, out: Path, *, draw: bool) -> tuple[Asked, ...]:
    """What both bases know of the look of the first pair, as method `auto` asks them; their pictures go to `out`.

    Args:
        covered: of `on_forgetful_base`.
        out: the proof's folder.
        draw: whether pictures that are missing are drawn; otherwise a base of which some are is left out.
    """
    use_threads(1)  # as in a lane
    at, pair = store_of(out), PAIRS[0]
    shots, found = drawn(covered, out / "world")(pair), []
    for name, folder in BASES.items():
        shared = overlaid(covered.shared, {"base": str(out / folder)})  # an absolute path stays what it is
        recipe = recipe_of(read_arm(AUTO), shared, pair, 1, shots)
        if draw and not peek(recipe, at, "look").is_finished:
            make(recipe, at, "look")
        if (peeked := peek(recipe, at, "look")).is_finished and peeked.artifacts.look:
            found.append(Asked(base=name, report=read_look(peeked.artifacts.look, at)))
            picture = at.open_store().tree(peeked.artifacts.look.sha256)[LOOK_PICTURE]
            write_atomically(out / f"{name}-{LOOK_PICTURE}", picture.read_bytes())
    return tuple(found)
