"""`headcanon run --dry-run`: what would be done, in figures, and what of it is finished. Trains and writes nothing."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.make_lora import style_tokens
from lora_core.dataset import Manifest
from lora_core.recipe import COMPOSITIONS, Recipe
from lora_core.refs import CheckpointRef, DatasetRef
from lora_core.training.plan import Plan
from tasks.caching import found_finished
from tasks.caption import edit_captions, find_rules
from tasks.check import check_merge, check_style
from tasks.find import find_base, find_screenshots, find_tagger
from tasks.judge import judge
from tasks.look_ahead import expected_manifest, memory_bytes, plan_character, plan_style
from tasks.merge import merge
from tasks.preprocess import downscale, preprocess, without_remarks
from tasks.runtime import At
from tasks.sample import sample_epochs
from tasks.tag import tag
from tasks.train import train_character, train_style

Step = tuple[str, bool]


def show_plan(recipe: Recipe) -> None:
    """Print images, samples and steps, regularization use, buckets, memory, and what is cached."""
    console = Console()
    at = At(store=recipe.runtime.store, device=recipe.runtime.device)
    base = find_base.fn(recipe.base, at)
    style, character = (find_screenshots.fn(part.images, at) for part in (recipe.style, recipe.character))
    manifests = [expected_manifest(shots, recipe.preprocess, at) for shots in (style, character)]
    console.print(
        f"\n[bold]{recipe.name}[/bold]  trigger {recipe.trigger}  →  {Path(recipe.runtime.out) / recipe.name}\n"
    )
    console.print(_pictures(*manifests))
    for manifest in manifests:
        for one in manifest.rejected:
            console.print(f"left out {one.source}: {one.reason}", highlight=False)
    first, second = plan_style(recipe, manifests[0]), plan_character(recipe, *manifests)
    console.print(_samples("Style LoRA", first), _samples("Character LoRA", second))
    console.print(_buckets(second))
    console.print(f"Memory for training: about {memory_bytes(recipe, base, at) / 1e9:.1f} GB\n", highlight=False)
    console.print(_steps(recipe, at, base, style, character))


def _pictures(style: Manifest, character: Manifest) -> Table:
    table = Table("pictures", "style", "character", box=None, pad_edge=False, title="Pictures", title_justify="left")
    for composition in (*COMPOSITIONS, None):
        counts = [sum(entry.composition == composition for entry in each.entries) for each in (style, character)]
        if composition or any(counts):
            table.add_row(composition or "composition unknown", *map(str, counts))
    table.add_row("all", str(len(style.entries)), str(len(character.entries)))
    table.add_row("left out", str(len(style.rejected)), str(len(character.rejected)))
    return table


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
    return table


def _buckets(plan: Plan) -> Table:
    table = Table(
        "bucket", "samples", "steps", box=None, pad_edge=False, title="\nSizes in training", title_justify="left"
    )
    for bucket in plan.buckets:
        table.add_row(f"{bucket.size[0]}×{bucket.size[1]}", str(bucket.samples), str(bucket.batches))
    return table


def _steps(recipe: Recipe, at: At, base: CheckpointRef, style: DatasetRef, character: DatasetRef) -> Table:
    table = Table("step", "", box=None, pad_edge=False, title="Steps", title_justify="left")
    for name, finished in finished_steps(recipe, at, base, style, character):
        table.add_row(name, "[blue]cached[/blue]" if finished else "to do")
    return table


def finished_steps(
    recipe: Recipe, at: At, base: CheckpointRef, style_shots: DatasetRef, shots: DatasetRef
) -> Iterator[Step]:
    """Every step of `make_lora` and whether it is finished; behind one that is not, nothing can be known to be."""
    clip_skip, tokens = recipe.base.clip_skip, style_tokens(recipe)
    tagger, rules = find_tagger.fn(recipe.tagger, at), find_rules.fn(recipe.captions, recipe.trigger)

    squares = [found_finished(preprocess, each, recipe.preprocess, at) for each in (style_shots, shots)]
    yield "preprocess style", squares[0] is not None
    yield "preprocess character", squares[1] is not None
    style, pictures = (without_remarks.fn(each, at) if each else None for each in squares)
    style_tags = found_finished(tag, style, tagger, at) if style else None
    yield "tag style", style_tags is not None
    tags = pictures and found_finished(tag, pictures, tagger, at)
    yield "tag character", tags is not None
    threshold = recipe.tagger.threshold
    captioned = (
        found_finished(edit_captions, pictures, tags, rules, recipe.trigger, threshold, at)
        if pictures and tags
        else None
    )
    yield "caption", captioned is not None
    copies = captioned and recipe.downscale.size and found_finished(downscale, captioned, recipe.downscale.size, at)
    if recipe.downscale.size:
        yield "downscale", bool(copies)

    style_lora = style and found_finished(train_style, base, style, tokens, recipe.style_training, clip_skip, at)
    yield "train style", style_lora is not None
    checked = style_lora and found_finished(check_style, base, style_lora, tokens, recipe.sampling, clip_skip, at)
    yield "check style", checked is not None
    merged = style_lora and found_finished(merge, base, style_lora, recipe.merge, at)
    yield "merge", merged is not None
    checked = (
        found_finished(check_merge, base, style_lora, merged, recipe.merge, recipe.sampling, clip_skip, at)
        if style_lora and merged
        else None
    )
    yield "check merge", checked is not None
    lora = (
        found_finished(
            train_character, recipe.name, recipe.trigger, merged, captioned, copies or None, recipe.downscale, style,
            tokens, recipe.regularization, recipe.character_training, clip_skip, at,
        )
        if merged and captioned and style
        else None
    )  # fmt: skip
    yield "train character", lora is not None
    samples = lora and found_finished(sample_epochs, base, lora, recipe.sampling, recipe.trigger, clip_skip, at)
    yield "sample", samples is not None
    verdict = (
        found_finished(judge, samples, pictures, tags, rules, recipe.trigger, threshold, tagger, recipe.judging, at)
        if samples and pictures and tags
        else None
    )
    yield "judge", verdict is not None
