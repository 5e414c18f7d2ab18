"""Every option as a form in Prefect's UI: the recipe's sections, one card each."""

from typing import Annotated

from pydantic import Field

from flows.ending import form
from flows.place import AllowedFolders
from flows.request import Name, checked
from flows.train_character import train
from lora_core.recipe import (
    Base,
    Captions,
    Character,
    CharacterTraining,
    Difference,
    Downscale,
    Gates,
    Judging,
    Merge,
    Preprocess,
    Publish,
    Recipe,
    Redraw,
    Regularization,
    Sampling,
    ShotPlan,
    Speed,
    Style,
    StyleTraining,
    Tagger,
)  # fmt: skip
from lora_core.recipe_file import parse_recipe
from tasks.steps import Step, Until

Processes = Annotated[int, Field(ge=1, le=16)]


@form("train-character-full")
def train_character_full(
    name: Name,
    base: Base,
    style: Style,
    character: Character,
    trigger: str = "",
    tagger: Tagger = Tagger(),
    preprocess: Preprocess = Preprocess(),
    plan: ShotPlan = ShotPlan(),
    captions: Captions = Captions(),
    downscale: Downscale = Downscale(),
    style_training: StyleTraining = StyleTraining(),
    merge: Merge = Merge(),
    difference: Difference = Difference(),
    regularization: Regularization = Regularization(),
    character_training: CharacterTraining = CharacterTraining(),
    redraw: Redraw = Redraw(),
    sampling: Sampling = Sampling(),
    gates: Gates = Gates(),
    judging: Judging = Judging(),
    publish: Publish = Publish(),
    processes: Processes = 1,
    speed: Speed = Speed(),
    until: Until = "publish",
    force: tuple[Step, ...] = (),
) -> str:
    """Screenshots in, character LoRA out, with every option in sight. All of them count as they are shown here.

    Args:
        name: Name of the LoRA.
        base: The base model that the finished LoRA is for. Paths are on the worker's machine, in its home.
        style: Screenshots of another, very different character from the same 3D creator. Not needed where no look is
            learned: merge, difference and regularization unused.
        character: Screenshots of yours, and its outfits.
        trigger: The word that calls the character. Empty: made from the name.
        tagger: What writes the captions and reads the samples.
        preprocess: From screenshots to square pictures on white.
        plan: How many pictures of each composition a set should have.
        captions: What the captions say, and leave out.
        downscale: The small copies beside the originals.
        style_training: Stage 1, the style LoRA.
        merge: Stage 2, the style LoRA into the base.
        difference: Instead of stage 2, the style LoRA out of the character's.
        regularization: Stage 1's pictures beside the character's.
        character_training: Stage 3, the character LoRA.
        redraw: After stage 3, a final LoRA trained on pictures that the first one drew.
        sampling: Pictures drawn to check each stage and to choose the epoch.
        gates: Checks between stages, and what becomes of a run that misses one.
        judging: How the epoch is chosen.
        publish: Where the finished LoRA goes.
        processes: How many share every step of a training: one a GPU of the worker's machine.
        speed: How a GPU of that machine is kept busy.
        until: Stop after this step and what is done together with it.
        force: Steps to do again although they are finished.
    """
    given = {key: value for key, value in locals().items() if key in Recipe.model_fields}
    given["runtime"] = {"processes": processes, "speed": speed}
    return train(checked(AllowedFolders(), parse_recipe(given, "form")), force, until)
