"""The two trainings. Each keeps its own state under its key and goes on bit-identically after a crash."""

from pathlib import Path
from typing import TYPE_CHECKING

from lora_core.dataset import load_manifest
from lora_core.recipe import CharacterTraining, Reading, StyleTraining, Training
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef
from lora_core.store import Store
from tasks.caching import current_key, step
from tasks.groups import CharacterSets
from tasks.runtime import RunContext, progress, say
from tasks.walking import helper

if TYPE_CHECKING:
    from lora_core.training.epochs import Saved
    from lora_core.training.samples import TrainingSet


@helper(peek="run")
def find_optimizers(*trainings: Training) -> None:
    """Refuse a library that is not there, before any work; those that every installation has are not imported."""
    if eight_bits := [options for options in trainings if options.memory_saving == "int8"]:
        from lora_core.training.memory import check_memory_saving

        check_memory_saving(eight_bits[0])
    if named := [options for options in trainings if options.names_code or options.optimizer_args]:
        from lora_core.training.optim import check_optimizer

        for options in named:
            check_optimizer(options)


def prepare_to_train(options: Training) -> None:
    """Import all that a training needs, in the main thread, before one is begun in the background."""
    from lora_core.training.ahead import import_all

    import_all(options)


@step("train style")
def train_style(
    base: CheckpointRef,
    pictures: DatasetRef,
    class_tokens: str,
    options: StyleTraining,
    reading: Reading,
    at: RunContext,
) -> LoraRef:
    """Stage 1: teach the base the 3D look, or a word for it; pictures without captions get identifier and class."""
    from lora_core.training.samples import style_set

    sets = (style_set(load_manifest(at.open_store(), pictures), options.repeats, options.resolution, class_tokens),)
    name = class_tokens.partition(" ")[0] if options.inversion else "style"
    return _train(name, "", base, sets, options, reading, at)


@step("train character")
def train_character(
    name: str,
    trigger: str,
    base: CheckpointRef,
    sets: CharacterSets,
    options: CharacterTraining,
    reading: Reading,
    at: RunContext,
) -> LoraRef:
    """Stage 3: what is left to learn on the merged model is the character."""
    from lora_core.training.samples import character_sets

    store = at.open_store()
    trained = character_sets(
        load_manifest(store, sets.pictures),
        load_manifest(store, sets.copies) if sets.copies else None,
        load_manifest(store, sets.style_pictures) if sets.style_pictures else None,
        (trigger, sets.style_tokens),
        (options, sets.downscale, sets.regularization),
    )
    return _train(name, trigger, base, trained, options, reading, at, sets.start)


def _previews(store: Store, at: RunContext, curves: Path) -> "Saved | None":
    if at.shown is None:
        return None
    from lora_core.sampling.previews import Previews
    from lora_core.sampling.sampler import SamplerConfig

    base, trigger, drawing = at.shown
    config = SamplerConfig(drawing.clip_skip, drawing.process, at.device, at.speed)
    return Previews(store, base, drawing.options, config, trigger, curves).show


def _train(
    name: str,
    trigger: str,
    base: CheckpointRef,
    sets: "tuple[TrainingSet, ...]",
    options: Training,
    reading: Reading,
    at: RunContext,
    start: LoraRef | None = None,
) -> LoraRef:
    from lora_core.training.run import train

    store, key = at.open_store(), current_key()
    curves = store.curves_folder(f"{name}-{key[:8]}")
    here = Path.cwd()
    say(f"curves of {name}: {curves.relative_to(here) if curves.is_relative_to(here) else curves}")
    with progress(f"train {'character' if trigger else 'style'}", "step", curves) as listen:
        return train(
            store,
            base,
            sets,
            options,
            name=name,
            clip_skip=reading.clip_skip,
            device=at.device,
            key=key,
            trigger=trigger,
            progress=listen,
            process=reading.process,
            curves=curves,
            saved=_previews(store, at, curves),
            processes=at.processes,
            speed=at.speed,
            start=start,
        )
