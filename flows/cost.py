"""What a run still costs: hours of training and drawing at this machine's own pace, and room on the disk."""

import shutil
from collections.abc import Iterator
from typing import NamedTuple

from flows.plan import DryRun
from lora_core.pace import Work, expected_seconds
from lora_core.recipe import Recipe, Training
from lora_core.sampling.epochs import STYLE_PICTURES, probe_drawing
from lora_core.sampling.generate import drawing_work
from lora_core.sampling.sampler import SamplerConfig
from lora_core.store import open_store
from lora_core.training.plan import Plan, disk_bytes, training_work, unloaded
from lora_core.training.probe import probe_training
from tasks.runtime import At, progress
from tasks.steps import Step

_PIXEL_BYTES = 2
"""Of a pixel in a PNG, generously."""


class Cost(NamedTuple):
    """Of one step that is to do; `seconds` is None where nothing of the kind was measured here yet."""

    step: Step
    seconds: float | None


class Room(NamedTuple):
    """Bytes on the disk of the store."""

    needed: int
    free: int


def costs(dry: DryRun, at: At) -> tuple[Cost, ...]:
    """Of the steps that train or draw and are not finished; the others take minutes together."""
    store, works = at.open_store(), dict(_works(dry, at))
    waiting = dict.fromkeys(visit.step for visit in dry.peeked.steps if not visit.ref)
    return tuple(Cost(step, expected_seconds(store, works[step])) for step in waiting if step in works)


def probe(dry: DryRun, at: At) -> None:
    """Train and draw a few steps of each kind that waits, so that its pace is known.

    Raises:
        CheckpointError: the base cannot be loaded.
        TrainingError: memory does not hold it.
    """
    recipe, waiting = dry.recipe, _waiting(dry)
    base, (clip_skip, process) = dry.peeked.artifacts.inputs.base, recipe.base.reading
    store = open_store(at.store, forgetful=True)
    for step, (options, _) in _trainings(dry).items():
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


def room(dry: DryRun, at: At) -> Room:
    """What the steps that are not finished will write, roughly, and how much room there is."""
    recipe, waiting, store = dry.recipe, _waiting(dry), at.open_store()
    files = store.tree(dry.peeked.artifacts.inputs.base.sha256)
    components, _ = unloaded(files, at.device, recipe.base.process)
    trained = sum(disk_bytes(components, options) for step, (options, _) in _trainings(dry).items() if step in waiting)
    merged = sum(path.stat().st_size for path in files.values()) if "merge" in waiting else 0
    picture = recipe.sampling.width * recipe.sampling.height * _PIXEL_BYTES
    drawn = sum(count * picture for step, count in _drawn(recipe).items() if step in waiting)
    return Room(trained + merged + drawn, shutil.disk_usage(store.root).free)


def _waiting(dry: DryRun) -> set[Step]:
    return {visit.step for visit in dry.peeked.steps if not visit.ref}


def _trainings(dry: DryRun) -> dict[Step, tuple[Training, Plan]]:
    found: dict[Step, tuple[Training, Plan]] = {"train character": (dry.recipe.character_training, dry.character)}
    return {"train style": (dry.recipe.style_training, dry.style), **found} if dry.style else found


def _works(dry: DryRun, at: At) -> Iterator[tuple[Step, Work]]:
    recipe, base = dry.recipe, dry.peeked.artifacts.inputs.base
    components, device = unloaded(at.open_store().tree(base.sha256), at.device, recipe.base.process)
    for step, (options, plan) in _trainings(dry).items():
        yield step, training_work(components, options, device, at.processes, plan)
    for step, pictures in _drawn(recipe).items():
        # Checks need no fine pictures: no hires pass.
        sampling = (
            recipe.sampling.model_copy(update={"hires": 1.0})
            if step in ("check style", "check merge")
            else recipe.sampling
        )
        yield step, drawing_work(components, sampling, device, pictures)


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
