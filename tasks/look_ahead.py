"""What the steps would do, before they do it: for `--dry-run`."""

from collections.abc import Mapping

from lora_core.dataset import Manifest, load_manifest, load_tags
from lora_core.images.composition import settle
from lora_core.recipe import Composition, Preprocess, Recipe
from lora_core.refs import CheckpointRef, DatasetRef
from lora_core.training import estimate
from lora_core.training.plan import Plan, plan
from lora_core.training.samples import TrainingSet
from tasks.caching import found_finished
from tasks.preprocess import preprocess, without_remarks
from tasks.runtime import At
from tasks.tag import tag


def expected_manifest(
    shots: DatasetRef, options: Preprocess, tagger: CheckpointRef, said: Mapping[str, Composition], at: At
) -> Manifest:
    """The square pictures: as they are if they were made before, else one for every file that was found.

    With compositions and views as `tag` saw them, if it was done before.
    """
    store = at.open_store()
    made = found_finished(preprocess, shots, options, at)
    if made is None:
        found = load_manifest(store, shots)
        square = {"width": options.size, "height": options.size}
        return found.model_copy(update={"entries": tuple(entry.model_copy(update=square) for entry in found.entries)})
    tags = found_finished(tag, without_remarks.fn(made, at), tagger, at)
    manifest = load_manifest(store, made)
    return settle(manifest, load_tags(store, tags), said) if tags else manifest


def plan_style(recipe: Recipe, style: Manifest) -> Plan:
    """Stage 1 in figures."""
    options = recipe.style_training
    return plan([_set(style, options.repeats, options.resolution)], options)


def plan_character(recipe: Recipe, style: Manifest | None, character: Manifest) -> Plan:
    """Stage 3 in figures."""
    options = recipe.character_training
    sets = [_set(character, options.repeats, options.resolution)]
    if size := recipe.downscale.size:
        small = [entry.model_copy(update={"width": size, "height": size}) for entry in character.entries]
        sets.append(_set(Manifest(entries=tuple(small)), recipe.downscale.repeats, size))
    if recipe.regularization.use and style:
        sets.append(_set(style, recipe.regularization.repeats, options.resolution, regularization=True))
    return plan(sets, options)


def memory_bytes(recipe: Recipe, base: CheckpointRef, at: At) -> int:
    """Of the larger of the trainings."""
    files = at.open_store().tree(base.sha256)
    trainings = (
        (recipe.style_training, recipe.character_training) if recipe.trains_style else (recipe.character_training,)
    )
    return max(estimate.memory_bytes(files, options, at.device, recipe.base.process) for options in trainings)


def _set(manifest: Manifest, repeats: int, resolution_px: int, *, regularization: bool = False) -> TrainingSet:
    return TrainingSet(
        manifest=manifest,
        repeats=repeats,
        regularization=regularization,
        class_tokens="1girl",  # stands for the captions, which are not written yet and change nothing here
        resolution_px=resolution_px,
    )
