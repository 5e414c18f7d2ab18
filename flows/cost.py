"""What a run still costs: hours of training and drawing at this machine's own pace, and room on the disk."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from functools import cache
from typing import NamedTuple

from flows.graph import peek
from flows.plan import DryRun, dry_run
from lora_core.judging.look import asking, usual_pictures
from lora_core.pace import Work, expected_seconds
from lora_core.recipe import Recipe, Sampling, Training
from lora_core.sampling.epochs import STYLE_PICTURES, probe_drawing
from lora_core.sampling.sampler import SamplerConfig
from lora_core.sampling.work import drawing_work, loading_work
from lora_core.store import Store, open_store
from lora_core.training.memory import disk_bytes
from lora_core.training.plan import Plan, training_work, unloaded
from lora_core.training.probe import probe_training
from tasks.runtime import RunContext, progress
from tasks.steps import Branch, Step

_PIXEL_BYTES = 2
"""Of a pixel in a PNG, generously."""

Node = tuple[Step, Branch]


class Cost(NamedTuple):
    """Of one step that is to do; `seconds` is None where nothing of the kind was measured here yet."""

    step: Step
    branch: Branch
    seconds: float | None


class Room(NamedTuple):
    """Bytes on the disk of the store."""

    needed: int
    free: int


def costs(dry: DryRun, at: RunContext) -> tuple[Cost, ...]:
    """Of the steps that train or draw and are not finished; the others take minutes together."""
    return tuple(_costs(dry, dict(_works(dry, at)), at.open_store()))


def _costs(dry: DryRun, works: Mapping[Node, tuple[Work, ...]], store: Store) -> Iterator[Cost]:
    for node, times in _waiting(dry).items():
        if node in works:
            seconds = _seconds(store, *works[node])
            yield Cost(*node, seconds and seconds * times)


def expecting(recipe: Recipe, at: RunContext) -> Callable[[Set[str]], dict[str, float | None]]:
    """What tells, whenever it is asked, the seconds of each step of a run that is still to do, by its name in Prefect.

    The plan is made when it is asked first; the base is then read once.
    """

    @cache
    def plan() -> tuple[DryRun, dict[Node, tuple[Work, ...]]]:
        dry = dry_run(recipe, at)
        return dry, dict(_works(dry, at))

    def ask(done: Set[str]) -> dict[str, float | None]:
        dry, works = plan()
        left = at.model_copy(update={"force": tuple(step for step in at.force if step not in done)})
        found = _costs(dry._replace(peeked=peek(recipe, left)), works, at.open_store())
        return {f"{each.step} {each.branch}".strip(): each.seconds for each in found}

    return ask


def _seconds(store: Store, main: Work, *further: Work) -> float | None:
    """Of a step, by its main work; further work that was never done here adds nothing."""
    known = expected_seconds(store, main)
    return known and known + sum(expected_seconds(store, each) or 0.0 for each in further)


def probe(dry: DryRun, at: RunContext) -> None:
    """Train and draw a few steps of each kind that waits, so that its pace is known.

    Raises:
        CheckpointError: the base cannot be loaded.
        TrainingError: memory does not hold it.
    """
    recipe, waiting = dry.recipe, _waiting(dry)
    base, (clip_skip, process) = dry.peeked.artifacts.inputs.base, recipe.base.reading
    store = open_store(at.store, forgetful=True)
    for (step, branch), (options, _) in _trainings(dry).items():
        # What the first training of a kind tells holds for the redrawn one too.
        if (step, branch) in waiting and not (branch and (step, "") in waiting):
            with progress(f"probe {step}", "step") as listen:
                probe_training(
                    store, base, options, clip_skip=clip_skip, device=at.device, process=process,
                    processes=at.processes, speed=at.speed, progress=listen,
                )  # fmt: skip
    if waiting.keys() & _drawn(recipe).keys():
        config = SamplerConfig(clip_skip, process, at.device, at.speed)
        with progress("probe drawing", "step") as listen:
            probe_drawing(store, base, recipe.sampling, config, listen)


def room(dry: DryRun, at: RunContext) -> Room:
    """What the steps that are not finished will write, roughly, and how much room there is."""
    recipe, waiting, store = dry.recipe, _waiting(dry), at.open_store()
    files = store.tree(dry.peeked.artifacts.inputs.base.sha256, checked=False)
    components, _ = unloaded(files, at.device, recipe.base.process)
    trained = sum(disk_bytes(components, options) * waiting[node] for node, (options, _) in _trainings(dry).items())
    merged = sum(path.stat().st_size for path in files.values()) if ("merge", "") in waiting else 0
    drawn = sum(
        count * waiting[node] * options.width * options.height * _PIXEL_BYTES
        for node, (options, count) in _drawn(recipe).items()
    )
    return Room(trained + merged + drawn, shutil.disk_usage(store.root).free)


def _waiting(dry: DryRun) -> Counter[Node]:
    """How often each node is to be done: in every round of redrawing once."""
    return Counter((visit.step, visit.branch) for visit in dry.peeked.steps if not visit.ref)


def _trainings(dry: DryRun) -> dict[Node, tuple[Training, Plan]]:
    found: dict[Node, tuple[Training, Plan]] = {("train character", ""): (dry.recipe.character_training, dry.character)}
    if dry.redrawn:
        found["train character", "redrawn"] = dry.recipe.final_training, dry.redrawn
    return {("train style", ""): (dry.recipe.style_training, dry.style), **found} if dry.style else found


def _works(dry: DryRun, at: RunContext) -> Iterator[tuple[Node, tuple[Work, ...]]]:
    recipe, base = dry.recipe, dry.peeked.artifacts.inputs.base
    components, device = unloaded(at.open_store().tree(base.sha256, checked=False), at.device, recipe.base.process)
    for node, (options, plan) in _trainings(dry).items():
        # The pictures of a training that shows its epochs are those that `sample` finds drawn then.
        shown = recipe.sampling.while_training and node == ("train character", "")
        loading = (loading_work(components, device, options.epochs),) if shown else ()
        yield node, (training_work(components, options, device, at.processes, plan), *loading)
    for node, (sampling, pictures) in _drawn(recipe).items():
        yield node, (drawing_work(components, sampling, device, pictures),)


def _drawn(recipe: Recipe) -> dict[Node, tuple[Sampling, int]]:
    """How, and how many pictures, every node draws that does."""
    options, redraw = recipe.sampling, recipe.redraw
    plain = options.model_copy(update={"hires": 1.0})  # checks need no fine pictures
    cells = len(options.prompts) * len(options.seeds)
    first, final = (
        cells * (1 + training.epochs * len(options.weights))
        for training in (recipe.character_training, recipe.final_training)
    )
    asked = asking(plain)
    return {
        ("look", ""): (asked, usual_pictures(len(asked.prompts))),
        ("check style", ""): (plain, 2 * STYLE_PICTURES),
        ("check merge", ""): (plain, len(options.style_prompts)),
        ("sample", ""): (options, first),
        ("redraw", ""): (options.square(recipe.character_training.resolution), redraw.candidates),
        ("sample", "redrawn"): (options, final - cells),
        ("transfer", ""): (options, 2 * cells * len(options.transfer)),
    }
