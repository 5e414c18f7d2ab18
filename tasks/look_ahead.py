"""What the steps would do, before they do it: for `--dry-run`."""

from lora_core.dataset import Manifest, load_manifest
from lora_core.recipe import Preprocess, Recipe
from lora_core.refs import CheckpointRef, DatasetRef
from lora_core.training import estimate
from lora_core.training.plan import Plan, plan
from lora_core.training.samples import TrainingSet
from tasks.caching import found_finished
from tasks.preprocess import preprocess
from tasks.runtime import At


def expected_manifest(shots: DatasetRef, options: Preprocess, at: At) -> Manifest:
    """The square pictures: as they are if they were made before, else one for every file that was found."""
    store = at.open_store()
    if (made := found_finished(preprocess, shots, options, at)) is not None:
        return load_manifest(store, made)
    found = load_manifest(store, shots)
    square = {"width": options.size, "height": options.size}
    return found.model_copy(update={"entries": tuple(entry.model_copy(update=square) for entry in found.entries)})


def plan_style(recipe: Recipe, style: Manifest) -> Plan:
    """Stage 1 in figures."""
    options = recipe.style_training
    return plan([_set(style, options.repeats, options.resolution)], options)


def plan_character(recipe: Recipe, style: Manifest, character: Manifest) -> Plan:
    """Stage 3 in figures."""
    options = recipe.character_training
    sets = [_set(character, options.repeats, options.resolution)]
    if size := recipe.downscale.size:
        small = [entry.model_copy(update={"width": size, "height": size}) for entry in character.entries]
        sets.append(_set(Manifest(entries=tuple(small)), recipe.downscale.repeats, size))
    if recipe.regularization.use:
        sets.append(_set(style, recipe.regularization.repeats, options.resolution, regularization=True))
    return plan(sets, options)


def memory_bytes(recipe: Recipe, base: CheckpointRef, at: At) -> int:
    """Of the larger of the two trainings."""
    files = at.open_store().tree(base.sha256)
    return max(
        estimate.memory_bytes(files, options, at.device)
        for options in (recipe.style_training, recipe.character_training)
    )


def _set(manifest: Manifest, repeats: int, resolution_px: int, *, regularization: bool = False) -> TrainingSet:
    return TrainingSet(
        manifest=manifest,
        repeats=repeats,
        regularization=regularization,
        class_tokens="1girl",  # stands for the captions, which are not written yet and change nothing here
        resolution_px=resolution_px,
    )
