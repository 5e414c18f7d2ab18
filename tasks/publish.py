"""The report, and the folder that people look into."""

import re
from pathlib import Path

from prefect.context import FlowRunContext

from lora_core.captions.rules import Rules
from lora_core.recipe import Gates, PathField, Publish, Recipe, Runtime, with_paths
from lora_core.recipe_file import looks_like_path
from lora_core.refs import CheckpointRef, Ref, ReportRef
from lora_core.report import publish as folder
from lora_core.report.data import ReportInputs, Timing
from lora_core.store import Store
from lora_core.store.files import write_atomically
from tasks.caching import recorded, step, steps_of_run, uncached
from tasks.runtime import RunContext, progress, say
from tasks.walking import helper


@helper()
def check_name(recipe: Recipe, rules: Rules, found: tuple[Ref, ...]) -> None:
    """Refuse an output name that is taken, or a place among the screenshots, before the work and not after it."""
    screenshots = (*recipe.style.folders, *recipe.character.folders)
    folder.check_place(_target(recipe), [Path(images) for images in screenshots])
    folder.check_name(_target(recipe), folder.published_name(recipe), _inputs(recipe, rules, found))


@step("report")
def report(recipe: Recipe, made: ReportInputs, at: RunContext) -> ReportRef:
    """Every file that is published, as one tree."""
    from lora_core.report.assemble import assemble

    store = at.open_store("report")
    with progress("report", "page"):
        return assemble(store, recipe, made, _timings(store))


@uncached("publish")
def publish(recipe: Recipe, files: ReportRef, rules: Rules, found: tuple[Ref, ...], at: RunContext) -> str:
    """Write OUT/NAME; returns the folder."""
    target = _target(recipe)
    folder.write_folder(
        at.open_store().tree(files.sha256), target, folder.published_name(recipe), _inputs(recipe, rules, found)
    )
    return str(target)


@helper()
def check_successor(recipe: Recipe, base: CheckpointRef, verdict: ReportRef, at: RunContext) -> ReportRef | None:
    """What would be published beside the version before it, metric by metric; None: there is nothing to compare."""
    from lora_core.judging.gates import successor_gates, with_gates
    from lora_core.judging.verdict import read_verdict
    from lora_core.report.publish import previous

    store = at.open_store()
    before = previous(Path(recipe.runtime.out), without_place(recipe), base)
    if before is None or isinstance(before, str):
        if before:
            say(before, mark="!")
        return None
    after = read_verdict(store, verdict).chosen.metrics
    return with_gates(store, None, list(successor_gates(before.metrics, after, before.name, recipe.publish)))


@helper()
def hold_back(recipe: Recipe, files: ReportRef, at: RunContext) -> None:
    """Leave a report of what is not published beside what is."""
    page = _target(recipe).with_name(f"{folder.published_name(recipe)}.held-back.html")
    write_atomically(page, at.open_store().tree(files.sha256)["report.html"].read_bytes())
    say(f"not published: {page} says why", mark="!")


@helper()
def push(recipe: Recipe, files: ReportRef, at: RunContext) -> str:
    """Put what others may see into the hub repository that the recipe names; returns the commit's address, or ""."""
    options = recipe.publish
    if not options.repository:
        return ""
    from prefect.blocks.system import Secret

    from lora_core.hub import push as hub

    block = options.token_block
    token = str(Secret.load(block).get()) if block else hub.token_of_environment()  # type: ignore[union-attr]
    name = folder.published_name(recipe)
    shown = folder.for_everybody(at.open_store().tree(files.sha256), name)
    address = hub.push(
        shown,
        options.repository,
        f"{name}.safetensors",
        token,
        private=options.private,
        message=f"{name}, by headcanon",
    )
    say(f"published at {address}")
    return address


@helper()
def tell(recipe: Recipe, verdict: ReportRef, samples: ReportRef, published: str, pushed: str, at: RunContext) -> None:
    """The choice with thumbnails, and the metrics, as artifacts in Prefect's UI."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    from lora_core.judging.verdict import read_verdict
    from lora_core.report.card import markdown, table
    from lora_core.sampling.samples import load_samples

    store, name = at.open_store(), folder.published_name(recipe)
    found, key = read_verdict(store, verdict), "headcanon-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    page = markdown(store, found, load_samples(store, samples), name, published, pushed)
    create_markdown_artifact(page, key=key, description=found.choice.reason)
    create_table_artifact(table(found), key=f"{key}-metrics", description="Every epoch × weight, and why")


@helper()
def tidy(at: RunContext) -> None:
    """Steps that are finished, and whose result is recorded, need their unfinished work no more."""
    store = at.open_store()
    for key in store.unfinished():
        if recorded(store, key) is not None:
            store.drop_work(key)


def _timings(store: Store) -> tuple[Timing, ...]:
    """Of every step of this run before the report."""
    run = FlowRunContext.get()
    steps = steps_of_run(str(run.flow_run.id)) if run and run.flow_run else ()
    return tuple(
        Timing(step=one.step, seconds=seconds if (seconds := one.seconds(store)) is not None else -1, cached=one.cached)
        for one in steps
        if one.step != "report"
    )


def _target(recipe: Recipe) -> Path:
    return Path(recipe.runtime.out) / folder.published_name(recipe)


def without_place(recipe: Recipe) -> Recipe:
    """The recipe without where things lie: it changes nothing that comes out, and is nobody's business in a report."""

    def name_of(_: PathField, text: str) -> str:
        return Path(text).name if looks_like_path(text) else text

    return with_paths(recipe, name_of).model_copy(update={"runtime": Runtime()})


def _inputs(recipe: Recipe, rules: Rules, found: tuple[Ref, ...]) -> object:
    made_of = without_place(recipe).model_copy(update={"publish": Publish(), "gates": Gates()})
    return [made_of.model_dump(mode="json"), rules.model_dump(mode="json"), [ref.sha256 for ref in found]]
