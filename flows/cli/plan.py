"""`headcanon run --dry-run`: what would be done, in figures, and what of it is finished. Trains and writes nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from rich.table import Table

from flows.cli.picture_set import coverage_table, remarks
from flows.make_lora import Seen, style_tokens
from lora_core.captions.rules import Rules, style_rules
from lora_core.dataset import Manifest, named_sets
from lora_core.errors import DatasetError
from lora_core.images.composition import refuse_doubtful
from lora_core.images.coverage import coverage, refuse_empty, unequal_views
from lora_core.recipe import PRESETS, Recipe
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, Ref, TagsRef
from lora_core.tagging.select import thresholds
from lora_core.training.plan import Plan
from tasks.caching import found_finished
from tasks.caption import edit_captions, find_rules
from tasks.check import check_captions, check_merge, check_style
from tasks.compositions import framings, settle_for_captions
from tasks.find import find_base, find_classifier, find_embedder, find_sets, find_tagger
from tasks.judge import judge
from tasks.look_ahead import expected_manifest, memory_bytes, plan_character, plan_style
from tasks.merge import merge
from tasks.preprocess import downscale, preprocess, without_remarks
from tasks.runtime import At
from tasks.sample import sample_epochs
from tasks.steps import Step
from tasks.subtract import subtract
from tasks.tag import tag
from tasks.terminal import Terminal
from tasks.train import train_character, train_style


class Made(NamedTuple):
    """A step, what it came to if it is finished, and of which set where it is done for both."""

    step: Step
    ref: Ref | None
    of: Literal["", "style", "character"] = ""


def show_plan(recipe: Recipe) -> None:
    """Print images, samples and steps, regularization use, buckets, memory, and what is cached.

    Raises:
        DatasetError: at the end, when the run itself would stop at a composition: in doubt, or without a picture.
    """
    console = Terminal()
    at = At.of(recipe)
    base = find_base.fn(recipe.base, at)
    style, character = find_sets(recipe, at)
    tagger, said = find_tagger.fn(recipe.tagger, at), framings(find_rules.fn(recipe.captions, recipe.trigger))
    looks = expected_manifest(style, recipe.preprocess, tagger, {}, at) if style else None
    pictures = expected_manifest(character, recipe.preprocess, tagger, said, at)
    sets = named_sets(looks, pictures)
    console.print(
        f"\n[bold]{recipe.name}[/bold]  trigger {recipe.trigger}  →  {Path(recipe.runtime.out) / recipe.name}"
    )
    console.print(f"method {recipe.method}: {PRESETS[recipe.method].what}\n", highlight=False, soft_wrap=True)
    found = coverage(recipe.plan, sets)
    console.print(coverage_table(found))
    unknown = () if found.settled else ("unknown ones are read by the tagger; composition.csv or folders can say them",)
    for line in (*unknown, *unequal_views(found), *_about_pictures(sets)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    plan = plan_character(recipe, looks, pictures)
    if recipe.trains_style and looks:
        console.print(_samples("Style LoRA", plan_style(recipe, looks)))
    title = "Look and character LoRA" if recipe.difference.use else "Character LoRA"
    console.print(_samples(title, plan), _buckets(plan))
    if recipe.difference.use:
        console.print(_subtraction(recipe), highlight=False, soft_wrap=True)
    console.print(f"Memory for training: about {memory_bytes(recipe, base, at) / 1e9:.1f} GB\n", highlight=False)
    console.print(_steps(recipe, at, base, style, character))
    if found.settled and recipe.preprocess.bad_pictures == "stop":
        refuse_doubtful(pictures)
    refuse_empty(found)


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


def _steps(recipe: Recipe, at: At, base: CheckpointRef, style: DatasetRef | None, character: DatasetRef) -> Table:
    table = Table("step", "of", "", box=None, pad_edge=False, title="Steps", title_justify="left")
    for made in finished_steps(recipe, at, base, style, character):
        table.add_row(made.step, made.of, "[blue]cached[/blue]" if made.ref else "to do")
    return table


def finished_steps(
    recipe: Recipe, at: At, base: CheckpointRef, style_shots: DatasetRef | None, shots: DatasetRef
) -> Iterator[Made]:
    """Every step of `make_lora` and what it came to; behind one that is not finished, nothing can be known."""
    reading, tokens = recipe.base.reading, style_tokens(recipe)
    tagger, rules = find_tagger.fn(recipe.tagger, at), find_rules.fn(recipe.captions, recipe.trigger)

    seen = None
    if style_shots:
        squares, tags = _looked_at(style_shots, recipe, tagger, at)
        yield from (Made("preprocess", squares, "style"), Made("tag", tags, "style"))
        seen = Seen(without_remarks.fn(squares, at), tags, tagger) if squares and tags else None
        if recipe.captions_style:
            seen = _with_words(seen, squares, recipe, at)
            yield Made("caption", seen.pictures if seen else None, "style")
    squares, tags = _looked_at(shots, recipe, tagger, at)
    yield from (Made("preprocess", squares, "character"), Made("tag", tags, "character"))
    pictures = _settled(squares, tags, rules, recipe, at) if squares and tags else None
    least = thresholds(recipe.tagger)
    captioned = (
        found_finished(edit_captions, pictures, tags, rules, recipe.trigger, least, at) if pictures and tags else None
    )
    yield Made("caption", captioned, "character")
    yield Made(
        "check captions",
        found_finished(check_captions, pictures, tags, rules, recipe.trigger, least, at) if pictures and tags else None,
    )
    copies = None
    if recipe.downscale.size:
        copies = found_finished(downscale, captioned, recipe.downscale.size, at) if captioned else None
        yield Made("downscale", copies)

    look = _finished_style(recipe, at, base, seen) if recipe.trains_style else _Look()
    yield from look.steps
    trained_on = look.merged if recipe.merge.use else base
    lora = (
        found_finished(
            train_character, recipe.name, recipe.trigger, trained_on, captioned, copies, recipe.downscale,
            seen.pictures if seen else None, tokens, recipe.regularization, recipe.character_training, *reading, at,
        )
        if trained_on and captioned and (seen or not style_shots)
        else None
    )  # fmt: skip
    yield Made("train character", lora)
    if recipe.difference.use:
        lora = found_finished(subtract, lora, look.lora, recipe.difference, at) if lora and look.lora else None
        yield Made("subtract", lora)
    drawing = recipe.sampling.on_one_base
    samples = found_finished(sample_epochs, base, lora, drawing, recipe.trigger, *reading, at) if lora else None
    yield Made("sample", samples)
    yield Made(
        "judge",
        found_finished(
            judge, samples, pictures, tags, rules, recipe.trigger, least, tagger,
            find_classifier.fn(recipe.judging, at), find_embedder.fn(recipe.judging, at),
            recipe.judging.without_place, at,
        )
        if samples and pictures and tags
        else None,
    )  # fmt: skip


def _looked_at(
    shots: DatasetRef, recipe: Recipe, tagger: CheckpointRef, at: At
) -> tuple[DatasetRef | None, TagsRef | None]:
    """A set's squares and tags, as far as they are finished."""
    squares = found_finished(preprocess, shots, recipe.preprocess, at)
    return squares, found_finished(tag, without_remarks.fn(squares, at), tagger, at) if squares else None


def _settled(squares: DatasetRef, tags: TagsRef, rules: Rules, recipe: Recipe, at: At) -> DatasetRef | None:
    """Pictures as a set's captions get them; None if the run would stop at one in doubt."""
    try:
        return without_remarks.fn(settle_for_captions.fn(squares, tags, rules, recipe.preprocess, at), at)
    except DatasetError:
        return None


def _with_words(seen: Seen | None, squares: DatasetRef | None, recipe: Recipe, at: At) -> Seen | None:
    """The style set with its captions, if they are finished."""
    rules = style_rules()
    settled = _settled(squares, seen.tags, rules, recipe, at) if seen and squares else None
    if seen is None or settled is None:
        return None
    who, least = recipe.style.identifier, thresholds(recipe.tagger)
    captioned = found_finished(edit_captions, settled, seen.tags, rules, who, least, at)
    return seen._replace(pictures=captioned) if captioned else None


class _Look(NamedTuple):
    """Stages 1 and 2, as far as they are finished."""

    lora: LoraRef | None = None
    merged: CheckpointRef | None = None
    steps: tuple[Made, ...] = ()


def _finished_style(recipe: Recipe, at: At, base: CheckpointRef, seen: Seen | None) -> _Look:
    reading, tokens, gates, sampling = (
        recipe.base.reading,
        style_tokens(recipe),
        recipe.gates,
        recipe.sampling.on_one_base,
    )
    lora = (
        found_finished(train_style, base, seen.pictures, tokens, recipe.style_training, *reading, at) if seen else None
    )
    checked = (
        found_finished(check_style, base, lora, tokens, *seen, gates.style_share, sampling, *reading, at)
        if lora and seen
        else None
    )
    steps = (Made("train style", lora), Made("check style", checked))
    if not recipe.merge.use:
        return _Look(lora, None, steps)
    merged = found_finished(merge, base, lora, recipe.merge, at) if lora else None
    merge_checked = (
        found_finished(check_merge, base, lora, merged, recipe.merge, *seen, gates.merge_share, sampling, *reading, at)
        if lora and merged and seen
        else None
    )
    return _Look(lora, merged, (*steps, Made("merge", merged), Made("check merge", merge_checked)))
