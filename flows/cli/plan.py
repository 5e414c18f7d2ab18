"""`headcanon run --dry-run`: what would be done, in figures, and what of it is finished. Trains and writes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich import filesize
from rich.table import Table

from flows.cli.picture_set import coverage_table, remarks
from flows.cost import Cost, Room, costs, probe, room
from flows.graph import Peeked
from flows.plan import DryRun, dry_run
from lora_core.captions.check import known_trigger
from lora_core.dataset import Manifest
from lora_core.images.composition import refuse_doubtful
from lora_core.images.coverage import refuse_empty, unequal_views
from lora_core.printable import duration
from lora_core.recipe import PRESETS, Recipe, in_words
from lora_core.training.plan import Plan, SetPlan
from tasks.caption import find_rules
from tasks.publish import check_name
from tasks.runtime import RunContext
from tasks.terminal import Terminal, styled


def show_plan(recipe: Recipe, *, with_probe: bool = False) -> None:
    """Print images, samples and steps, regularization use, buckets, memory, and what is cached.

    Raises:
        DatasetError: at the end, when the run itself would stop at a composition: in doubt, or without a picture.
        OutputExistsError: at the end, when the run itself would refuse its output's name.
    """
    console = Terminal()
    at = RunContext.of(recipe)
    found = dry_run(recipe, at)
    target = Path(recipe.runtime.out) / recipe.name
    console.print(styled("\n", (recipe.name, "bold"), f"  trigger {recipe.trigger}  →  {target}"), soft_wrap=True)
    warned = (f"! {known}" for known in (known_trigger(recipe.trigger),) if known)
    for line in (*_method(recipe, found), ""):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in (f"Base: {found.lineage.line}", *(f"! {each.line}" for each in found.misfits), *warned, ""):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(coverage_table(found.coverage))
    for line in (*unequal_views(found.coverage), *_about_pictures(found.sets)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if found.style:
        console.print(_samples("Style LoRA", found.style))
    title = "Look and character LoRA" if found.recipe.difference.use else "Character LoRA"
    console.print(_samples(title, found.character), _buckets(found.character))
    if start := found.peeked.artifacts.inputs.start:
        console.print(f"It begins with {', '.join(at.open_store().tree(start.sha256))}.\n", markup=False)
    if found.recipe.difference.use:
        console.print(_subtraction(found.recipe), highlight=False, soft_wrap=True)
    if found.redraw and found.redrawn:
        console.print(_samples("Final LoRA, of redrawn pictures", found.redrawn))
        console.print(f"{found.redraw.line}\n", highlight=False, soft_wrap=True)
    console.print(f"Memory for training: {found.memory.text}\n", highlight=False, soft_wrap=True)
    if with_probe:
        probe(found, at)
    to_do = costs(found, at)
    console.print(_steps(found.peeked, to_do))
    for line in (*_hours(to_do), *_room(room(found, at))):
        console.print(line, highlight=False, soft_wrap=True)
    if recipe.preprocess.bad_pictures == "stop":
        refuse_doubtful(found.pictures)
    refuse_empty(found.coverage)
    check_name(recipe, find_rules(recipe), found.peeked.artifacts.inputs.files)


def _method(recipe: Recipe, found: DryRun) -> Iterator[str]:
    """What the recipe names, and of 'auto' what it comes to, if the base was asked already; nothing is drawn here."""
    yield f"method {in_words(recipe)}"
    seen, taken = found.peeked.artifacts.look, found.recipe.method
    if seen is None:
        return
    if not seen.is_pending:
        yield f"The base was asked: {taken}, {PRESETS[taken].what}"
    else:
        yield f"Not decided yet: the run draws the base first (step look). What follows is for {taken}" + (
            ", the dearer of the two" if found.recipe.trains_style else ", since no style screenshots are named"
        )


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
            _named(each, plan),
            str(each.pictures), str(each.resolution_px), shown, str(each.samples),
            f"{each.used_in_run} of {each.pictures}",
        )  # fmt: skip
    if plan.held_out:
        table.add_row("held out, measured behind every epoch", str(plan.held_out))
    return table


def _named(each: SetPlan, plan: Plan) -> str:
    if each.regularization:
        return f"regularization (weight {plan.prior_loss_weight:g})"
    return f"training, {each.outfit}" if each.outfit else "training"


def _buckets(plan: Plan) -> Table:
    table = Table(
        "bucket", "samples", "steps", box=None, pad_edge=False, title="\nSizes in training", title_justify="left"
    )
    for bucket in plan.buckets:
        table.add_row(f"{bucket.size[0]}×{bucket.size[1]}", str(bucket.samples), str(bucket.batches))
    return table


def _steps(peeked: Peeked, to_do: Sequence[Cost]) -> Table:
    table = Table("step", "of", "", box=None, pad_edge=False, title="Steps", title_justify="left")
    seconds = {(cost.step, cost.branch): cost.seconds for cost in to_do}
    for visit in peeked.steps:
        known = seconds.get((visit.step, visit.branch))
        waiting = f"to do, about {duration(known)}" if known else "to do"
        table.add_row(visit.step, visit.branch, styled(("cached", "blue")) if visit.ref else waiting)
    return table


def _hours(to_do: Sequence[Cost]) -> Iterator[str]:
    """How long it all takes, as far as this machine has done the like."""
    measured = [cost.seconds for cost in to_do if cost.seconds is not None]
    unknown = [f"{cost.branch} {cost.step}".strip() for cost in to_do if cost.seconds is None]
    if measured:
        yield f"\nTraining and drawing: about {duration(sum(measured))} at this machine's own pace"
    if unknown:
        yield f"\nNot measured on this machine yet: {', '.join(unknown)}; `--probe` tells, after a few steps"


def _room(room: Room) -> Iterator[str]:
    if room.needed:
        yield f"Disk: about {filesize.decimal(room.needed)} will be written, {filesize.decimal(room.free)} are free"
    if room.needed > room.free:
        yield "! not enough: `headcanon store gc` frees some; [runtime] store takes another disk"
