"""Who stands in for the person at the gate of redrawing: the mark probe, which sees what no tag names."""

from io import BytesIO
from typing import Final

from PIL import Image

from demo.proof.marks import HIDDEN_TRAITS, VISIBLE_IN, HiddenTrait, load_marks, trait_probabilities
from flows.artifacts import RunArtifacts
from flows.asking import RedrawAnswer
from flows.gate import answered, remember
from lora_core.redraw.choose import read_selection
from lora_core.redraw.judgement import Selection
from lora_core.store import Store
from tasks.runtime import RunContext

_SHOWN: Final = 0.5


def answer_gate(selecting: RunArtifacts, mark: str | None, at: RunContext) -> None:
    """Leave out every picture that could show the character's trait that no tag names, and does not.

    Args:
        selecting: of a run that has come to its selection.
        mark: the trait; another one, or none: nothing is left out.
        at: where it runs.
    """
    trait = next((each for each in HIDDEN_TRAITS if each == mark), None)
    for one in selecting.rounds:
        found = read_selection(at.open_store(), one.selected)
        lacking = _lacking(found, trait, at.open_store()) if trait else ()
        remember("redraw", one.selected, RedrawAnswer(leave_out=" ".join(lacking)), at)


def has_answered(selecting: RunArtifacts, at: RunContext) -> bool:
    """Whether the gate was answered: what was not is found as the run that nobody touched."""
    return all(answered("redraw", one.selected, at, RedrawAnswer) for one in selecting.rounds)


def _lacking(found: Selection, trait: HiddenTrait, store: Store) -> tuple[str, ...]:
    """Numbers of the pictures, as a person types them."""
    probe, lacking = load_marks(), []
    for number, one in enumerate(found.pictures, start=1):
        if one.scene.framing in VISIBLE_IN[trait]:
            with Image.open(BytesIO(store.get_bytes(one.image))) as picture:
                if trait_probabilities(probe, [picture])[0][trait] < _SHOWN:
                    lacking.append(str(number))
    return tuple(lacking)
