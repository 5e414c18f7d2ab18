"""The report, and the folder that people look into."""

from functools import partial
from pathlib import Path

from lora_core.captions.caption import caption
from lora_core.captions.rules import Rules
from lora_core.dataset import load_manifest, load_tags
from lora_core.recipe import Options, Recipe, Runtime
from lora_core.recipe_file import looks_like_path
from lora_core.refs import Ref, ReportRef, TagsRef
from lora_core.report import publish as folder
from lora_core.report.made import Made
from lora_core.tagging.select import select, thresholds
from tasks.caching import look, recorded, step
from tasks.runtime import At, progress


@look("check name")
def check_name(recipe: Recipe, rules: Rules, found: tuple[Ref, ...]) -> None:
    """Refuse an output name that is taken, before the work and not after it."""
    folder.check_name(_target(recipe), recipe.name, _inputs(recipe, rules, found))


@step("report", version=2)
def report(recipe: Recipe, made: Made, tags: TagsRef, rules: Rules, at: At) -> ReportRef:
    """Every file that is published, as one tree."""
    from lora_core.report.assemble import assemble

    store = at.open_store("report")
    pictures = load_manifest(store, made.pictures)
    chosen = partial(select, least=thresholds(recipe.tagger))
    _, edited = caption(pictures, load_tags(store, tags), rules, recipe.trigger, chosen)
    with progress("report", "page"):
        return assemble(store, recipe, made, edited)


@look("publish")
def publish(recipe: Recipe, files: ReportRef, rules: Rules, found: tuple[Ref, ...], at: At) -> str:
    """Write OUT/NAME; returns the folder."""
    target = _target(recipe)
    folder.write_folder(at.open_store().tree(files.sha256), target, recipe.name, _inputs(recipe, rules, found))
    return str(target)


@look("tidy")
def tidy(at: At) -> None:
    """Steps that are finished, and whose result is recorded, need their unfinished work no more."""
    store = at.open_store()
    for key in store.unfinished():
        if recorded(store, key) is not None:
            store.drop_work(key)


def _target(recipe: Recipe) -> Path:
    return Path(recipe.runtime.out) / recipe.name


def without_place(recipe: Recipe) -> Recipe:
    """The recipe without where things lie: it changes nothing that comes out, and is nobody's business in a report."""

    def named(options: Options, field: str) -> Options:
        text = getattr(options, field)
        return options.model_copy(update={field: Path(text).name if looks_like_path(text) else text})

    return recipe.model_copy(
        update={
            "runtime": Runtime(),
            "base": named(recipe.base, "model"),
            "tagger": named(recipe.tagger, "model"),
            "style": named(recipe.style, "images"),
            "character": named(recipe.character, "images"),
            "captions": named(recipe.captions, "rules"),
        }
    )


def _inputs(recipe: Recipe, rules: Rules, found: tuple[Ref, ...]) -> object:
    return [without_place(recipe).model_dump(mode="json"), rules.model_dump(mode="json"), [ref.sha256 for ref in found]]
