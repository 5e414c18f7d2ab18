"""`headcanon run --dry-run`: what would be done, in figures, and what of it is finished. Trains and writes nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.table import Table

from flows.cli.picture_set import coverage_table, remarks
from flows.graph import Peeked, peek
from lora_core.bases.fit import misfits
from lora_core.bases.lineage import stored_lineage
from lora_core.dataset import Manifest, load_manifest, load_tags, named_sets
from lora_core.images.composition import refuse_doubtful, settle
from lora_core.images.coverage import coverage, refuse_empty, unequal_views
from lora_core.recipe import PRESETS, Composition, Recipe
from lora_core.refs import CheckpointRef, DatasetRef, TagsRef
from lora_core.training.plan import Plan, plan
from lora_core.training.plan import memory_bytes as training_memory
from lora_core.training.samples import TrainingSet
from tasks.compositions import framings
from tasks.runtime import At
from tasks.terminal import Terminal


def show_plan(recipe: Recipe) -> None:
    """Print images, samples and steps, regularization use, buckets, memory, and what is cached.

    Raises:
        DatasetError: at the end, when the run itself would stop at a composition: in doubt, or without a picture.
    """
    console = Terminal()
    at = At.of(recipe)
    peeked = peek(recipe, at)
    made, inputs = peeked.artifacts, peeked.artifacts.inputs
    looks = None
    if inputs.style and made.style_squares:
        tags = made.sets.style.tags if made.sets.style else None
        looks = _expected(inputs.style, made.style_squares, tags, {}, recipe, at)
    said = framings(inputs.rules)
    pictures = _expected(inputs.character, made.squares, made.sets.character.tags, said, recipe, at)
    sets = named_sets(looks, pictures)
    console.print(
        f"\n[bold]{recipe.name}[/bold]  trigger {recipe.trigger}  →  {Path(recipe.runtime.out) / recipe.name}"
    )
    console.print(f"method {recipe.method}: {PRESETS[recipe.method].what}\n", highlight=False, soft_wrap=True)
    for line in _fit(recipe, inputs.base, at):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    found = coverage(recipe.plan, sets)
    console.print(coverage_table(found))
    unknown = () if found.settled else ("unknown ones are read by the tagger; composition.csv or folders can say them",)
    for line in (*unknown, *unequal_views(found), *_about_pictures(sets)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    training = _plan_character(recipe, looks, pictures)
    if recipe.trains_style and looks:
        console.print(_samples("Style LoRA", _plan_style(recipe, looks)))
    title = "Look and character LoRA" if recipe.difference.use else "Character LoRA"
    console.print(_samples(title, training), _buckets(training))
    if recipe.difference.use:
        console.print(_subtraction(recipe), highlight=False, soft_wrap=True)
    console.print(
        f"Memory for training: about {_memory_bytes(recipe, inputs.base, at) / 1e9:.1f} GB\n", highlight=False
    )
    console.print(_steps(peeked))
    if found.settled and recipe.preprocess.bad_pictures == "stop":
        refuse_doubtful(pictures)
    refuse_empty(found)


def _fit(recipe: Recipe, base: CheckpointRef, at: At) -> Iterator[str]:
    """What the base is, and every number of the recipe that does not fit it."""
    lineage = stored_lineage(at.open_store(), base, recipe.base.model)
    yield f"Base: {lineage.line}"
    yield from (f"! {misfit.line}" for misfit in misfits(recipe, lineage))
    yield ""


def _about_pictures(sets: Mapping[str, Manifest]) -> Iterator[str]:
    for name, manifest in sets.items():
        yield from (f"{name}: {line}" for line in remarks(manifest))


def _subtraction(recipe: Recipe) -> str:
    kept = f"rank {recipe.difference.rank} is kept" if recipe.difference.rank else "every rank is kept"
    return f"Then the style LoRA is subtracted from it at strength {recipe.difference.weight:g}; {kept}."


def _samples(title: str, plan: Plan) -> Table:
    table = Table(
        "set", "pictures", "px", "repeats", "samples an epoch", "used", box=None, pad_edge=False,
        title=f"\n{title}: {plan.samples_per_epoch} samples and {plan.steps_per_epoch} steps an epoch, "
        f"{len(plan.epoch_steps)} epochs, {plan.total_steps} steps", title_justify="left",
    )  # fmt: skip
    for each in plan.sets:
        low, high = each.effective_repeats
        shown = f"{each.repeats}" if (low, high) == (each.repeats,) * 2 else f"{each.repeats} → {low}-{high}"
        table.add_row(
            f"regularization (weight {plan.prior_loss_weight:g})" if each.regularization else "training",
            str(each.pictures), str(each.resolution_px), shown, str(each.samples),
            f"{each.used_in_run} of {each.pictures}",
        )  # fmt: skip
    if plan.held_out:
        table.add_row("held out, measured behind every epoch", str(plan.held_out))
    return table


def _buckets(plan: Plan) -> Table:
    table = Table(
        "bucket", "samples", "steps", box=None, pad_edge=False, title="\nSizes in training", title_justify="left"
    )
    for bucket in plan.buckets:
        table.add_row(f"{bucket.size[0]}×{bucket.size[1]}", str(bucket.samples), str(bucket.batches))
    return table


def _steps(peeked: Peeked) -> Table:
    table = Table("step", "of", "", box=None, pad_edge=False, title="Steps", title_justify="left")
    for visit in peeked.steps:
        table.add_row(visit.step, visit.branch, "[blue]cached[/blue]" if visit.ref else "to do")
    return table


def _expected(
    screenshots: DatasetRef,
    squares: DatasetRef,
    tags: TagsRef | None,
    said: Mapping[str, Composition],
    recipe: Recipe,
    at: At,
) -> Manifest:
    """The square pictures: as they are if they were made before, else one for every file that was found.

    With compositions and views from their tags, if there are some.
    """
    store = at.open_store()
    if squares.is_pending:
        found = load_manifest(store, screenshots)
        square = {"width": recipe.preprocess.size, "height": recipe.preprocess.size}
        return found.model_copy(update={"entries": tuple(entry.model_copy(update=square) for entry in found.entries)})
    manifest = load_manifest(store, squares)
    return settle(manifest, load_tags(store, tags), said) if tags and not tags.is_pending else manifest


def _plan_style(recipe: Recipe, style: Manifest) -> Plan:
    """Stage 1 in figures."""
    options = recipe.style_training
    return plan([_set(style, options.repeats, options.resolution)], options)


def _plan_character(recipe: Recipe, style: Manifest | None, character: Manifest) -> Plan:
    """Stage 3 in figures."""
    options = recipe.character_training
    sets = [_set(character, options.repeats, options.resolution)]
    if size := recipe.downscale.size:
        small = [entry.model_copy(update={"width": size, "height": size}) for entry in character.entries]
        sets.append(_set(Manifest(entries=tuple(small)), recipe.downscale.repeats, size))
    if recipe.regularization.use and style:
        sets.append(_set(style, recipe.regularization.repeats, options.resolution, regularization=True))
    return plan(sets, options)


def _memory_bytes(recipe: Recipe, base: CheckpointRef, at: At) -> int:
    """Of the larger of the trainings."""
    files = at.open_store().tree(base.sha256)
    trainings = (
        (recipe.style_training, recipe.character_training) if recipe.trains_style else (recipe.character_training,)
    )
    return max(training_memory(files, options, at.device, recipe.base.process) for options in trainings)


def _set(manifest: Manifest, repeats: int, resolution_px: int, *, regularization: bool = False) -> TrainingSet:
    return TrainingSet(
        manifest=manifest,
        repeats=repeats,
        regularization=regularization,
        class_tokens="1girl",  # stands for the captions, which are not written yet and change nothing here
        resolution_px=resolution_px,
    )
