"""What a run still costs: hours of training and drawing at this machine's own pace, and room on the disk."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lora_core.pace import Work, expected_seconds
from lora_core.recipe import Recipe, Training
from lora_core.refs import CheckpointRef
from lora_core.sampling.epochs import STYLE_PICTURES, probe_drawing
from lora_core.sampling.generate import drawing_work
from lora_core.sampling.sampler import SamplerConfig
from lora_core.store import Store, open_store
from lora_core.training.plan import Plan, disk_bytes, training_work, unloaded
from lora_core.training.probe import probe_training
from tasks.runtime import At, progress
from tasks.steps import Step
from tasks.walking import Visit

_PICTURE_BYTES = 2
"""Of a pixel in a PNG, generously."""
_LATENT_PIXELS = 64


class Cost(NamedTuple):
    """Of one step that is to do; `seconds` is None where nothing of the kind was measured here yet."""

    step: Step
    seconds: float | None


class Room(NamedTuple):
    """Bytes on the disk of the store."""

    needed: int
    free: int


def costs(
    recipe: Recipe, base: CheckpointRef, plans: Mapping[Step, Plan], steps: Sequence[Visit], at: At
) -> tuple[Cost, ...]:
    """Of the steps that train or draw and are not finished; the others take minutes together."""
    store = at.open_store()
    waiting = dict.fromkeys(visit.step for visit in steps if not visit.ref)
    works = dict(_works(recipe, base, plans, at))
    return tuple(Cost(step, expected_seconds(store, works[step])) for step in waiting if step in works)


def probe(recipe: Recipe, base: CheckpointRef, steps: Sequence[Visit], at: At) -> None:
    """Train and draw a few steps of each kind that waits, so that its pace is known.

    Raises:
        CheckpointError: the base cannot be loaded.
        TrainingError: memory does not hold it.
    """
    clip_skip, process = recipe.base.reading
    store, waiting = open_store(at.store, forgetful=True), {visit.step for visit in steps if not visit.ref}
    trainings: dict[Step, Training] = {
        "train style": recipe.style_training, "train character": recipe.character_training
    }  # fmt: skip
    for step, options in trainings.items():
        if step in waiting:
            with progress(f"probe {step}", "step") as listen:
                probe_training(
                    store, base, options, clip_skip=clip_skip, device=at.device, process=process,
                    processes=at.processes, speed=at.speed, progress=listen,
                )  # fmt: skip
    if waiting & _drawn(recipe).keys():
        config = SamplerConfig(clip_skip, process, at.device, at.speed)
        with progress("probe drawing", "step") as listen:
            probe_drawing(store, base, recipe.sampling, config, listen)


def _works(recipe: Recipe, base: CheckpointRef, plans: Mapping[Step, Plan], at: At) -> Iterator[tuple[Step, Work]]:
    components, device = unloaded(at.open_store().tree(base.sha256), at.device, recipe.base.process)
    for step, plan in plans.items():
        options = recipe.style_training if step == "train style" else recipe.character_training
        yield step, training_work(components, options, device, at.processes, plan)
    for step, pictures in _drawn(recipe).items():
        plain = recipe.sampling if step == "sample" else recipe.sampling.model_copy(update={"hires": 1.0})
        yield step, drawing_work(components, plain, device, pictures)


def _drawn(recipe: Recipe) -> dict[Step, int]:
    """Pictures of every step that draws."""
    options = recipe.sampling
    cells = len(options.prompts) * len(options.seeds)
    return {
        "check style": 2 * STYLE_PICTURES,
        "check merge": len(options.style_prompts),
        "sample": cells * (1 + recipe.character_training.epochs * len(options.weights)),
        "transfer": 2 * cells * len(options.transfer),
    }


def room(recipe: Recipe, base: CheckpointRef, plans: Mapping[Step, Plan], steps: Sequence[Visit], at: At) -> Room:
    """What the steps that are not finished will write, roughly, and how much room there is."""
    store = at.open_store()
    files = store.tree(base.sha256)
    components, _ = unloaded(files, at.device, recipe.base.process)
    waiting = {visit.step for visit in steps if not visit.ref}
    needed = 0
    for step in waiting & plans.keys():
        options = recipe.style_training if step == "train style" else recipe.character_training
        needed += disk_bytes(components, options)
    if "merge" in waiting:
        needed += sum(path.stat().st_size for path in files.values())
    size = recipe.sampling.width * recipe.sampling.height * _PICTURE_BYTES
    needed += sum(pictures * size for step, pictures in _drawn(recipe).items() if step in waiting)
    return Room(int(needed), shutil.disk_usage(_there(store)).free)


def _there(store: Store) -> Path:
    """The store's folder, or the one it will be made in."""
    return next(path for path in (store.root.absolute(), *store.root.absolute().parents) if path.exists())
