"""What a run would do, in figures: for `--dry-run` and the studio page. Looks at the pictures; trains nothing."""

from collections.abc import Mapping
from typing import NamedTuple

from flows.graph import Peeked, peek, style_tokens
from lora_core.bases.fit import Misfit, misfits
from lora_core.bases.lineage import Lineage, stored_lineage
from lora_core.captions.wardrobe import dressed
from lora_core.dataset import Manifest, load_manifest, named_sets
from lora_core.images.composition import settle
from lora_core.images.coverage import Coverage, coverage
from lora_core.images.pipeline import copy_size
from lora_core.recipe import CharacterTraining, Composition, Recipe
from lora_core.redraw.cost import RedrawCost, cost_of, final_set
from lora_core.refs import CheckpointRef, DatasetRef
from lora_core.training.memory import Need, need
from lora_core.training.plan import Plan, plan
from lora_core.training.samples import character_sets, style_set
from tasks.compositions import framings
from tasks.runtime import RunContext
from tasks.tag import prepared_and_tagged


class DryRun(NamedTuple):
    """What a run would do.

    Attributes:
        recipe: of the run, with the method that it takes.
        peeked: every step, and what of it is finished.
        pictures: the character's, with compositions.
        sets: both sets by what messages call them.
        coverage: what they have of each composition.
        style: stage 1 in figures; None: no style LoRA is trained.
        character: stage 3 in figures.
        redraw: what redrawing takes; None: the recipe wants none.
        redrawn: the final training in figures; None likewise.
        memory: that the larger training takes.
        lineage: which family the base is of, and how that is known.
        misfits: the recipe's numbers that do not fit the base.
    """

    recipe: Recipe
    peeked: Peeked
    pictures: Manifest
    sets: Mapping[str, Manifest]
    coverage: Coverage
    style: Plan | None
    character: Plan
    redraw: RedrawCost | None
    redrawn: Plan | None
    memory: Need
    lineage: Lineage
    misfits: tuple[Misfit, ...]


def dry_run(recipe: Recipe, at: RunContext) -> DryRun:
    """Find everything, prepare and tag the pictures (seconds, and kept), and plan the trainings.

    Raises:
        UserError: what the run itself would stop at before any work.
    """
    peeked = peek(recipe, at)
    recipe = peeked.artifacts.recipe
    inputs = peeked.artifacts.inputs
    rules = inputs.rules
    looks = _looked_at(inputs.style, inputs.tagger, {}, recipe, at) if inputs.style else None
    pictures = _looked_at(inputs.character, inputs.tagger, framings(rules), recipe, at)
    sets = named_sets(looks, pictures)
    style = _plan_style(recipe, looks) if recipe.trains_style and looks else None
    character = _plan_character(recipe, looks, dressed(pictures, rules))
    found = coverage(recipe.plan, sets)
    lineage = stored_lineage(at.open_store(), inputs.base, recipe.base)
    redraw = cost_of(recipe, character.sets) if recipe.redraw.use else None
    memory = _memory(recipe, inputs.base, at)
    return DryRun(
        recipe, peeked, pictures, sets, found, style, character, redraw, _plan_redrawn(recipe), memory, lineage,
        misfits(recipe, lineage),
    )  # fmt: skip


def _looked_at(
    screenshots: DatasetRef, tagger: CheckpointRef, said: Mapping[str, Composition], recipe: Recipe, at: RunContext
) -> Manifest:
    """The square pictures with compositions and views."""
    store = at.open_store()
    store.hold()
    found = load_manifest(store, screenshots)
    squares, tags = prepared_and_tagged(store, found, recipe.preprocess, store.tree(tagger.sha256))
    return settle(squares, tags, said)


def _plan_style(recipe: Recipe, style: Manifest) -> Plan:
    options = recipe.style_training
    return plan([style_set(style, options.repeats, options.resolution, style_tokens(recipe))], options)


def _plan_character(recipe: Recipe, style: Manifest | None, character: Manifest) -> Plan:
    pictures = _captioned(character)
    copies = _copies(pictures, recipe.downscale.size) if recipe.downscale.size else None
    return _plan_sets(pictures, copies, style, recipe, recipe.character_training)


def _plan_redrawn(recipe: Recipe) -> Plan | None:
    if not recipe.redraw.use:
        return None
    return _plan_sets(_captioned(final_set(recipe)), None, None, recipe, recipe.final_training)


def _plan_sets(
    pictures: Manifest, copies: Manifest | None, style: Manifest | None, recipe: Recipe, options: CharacterTraining
) -> Plan:
    names, how = (recipe.trigger, style_tokens(recipe)), (options, recipe.downscale, recipe.regularization)
    return plan(character_sets(pictures, copies, style, names, how), options)


def _captioned(pictures: Manifest) -> Manifest:
    """With what stands for captions: they are not written yet, and change nothing here."""
    entries = (entry.model_copy(update={"caption": ("1girl",)}) for entry in pictures.entries)
    return Manifest(entries=tuple(entries))


def _copies(pictures: Manifest, size_px: int) -> Manifest:
    sizes = (copy_size((entry.width, entry.height), size_px) for entry in pictures.entries)
    return Manifest(
        entries=tuple(
            entry.model_copy(update={"width": width, "height": height})
            for entry, (width, height) in zip(pictures.entries, sizes, strict=True)
        )
    )


def _memory(recipe: Recipe, base: CheckpointRef, at: RunContext) -> Need:
    """Of the larger of the trainings."""
    files = at.open_store().tree(base.sha256, checked=False)
    trainings = (
        (recipe.style_training, recipe.character_training) if recipe.trains_style else (recipe.character_training,)
    )
    return max(need(files, options, at.device, recipe.base.process) for options in trainings)
