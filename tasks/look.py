"""What the base knows of the look by name, and the method that suits it: method `auto`."""

from typing import TYPE_CHECKING

from lora_core.errors import RecipeError
from lora_core.recipe import Recipe
from lora_core.recipe_file import parse_recipe
from lora_core.refs import CheckpointRef, ReportRef
from tasks.caching import step
from tasks.groups import Drawing, Question, TaggedSet
from tasks.runtime import RunContext, progress, say
from tasks.walking import idle_walk

if TYPE_CHECKING:
    from lora_core.judging.look import LookReport

LOOK_PICTURE = "look.png"
_REPORT = "look.json"


@step("look")
def look(base: CheckpointRef, character: TaggedSet, question: Question, drawing: Drawing, at: RunContext) -> ReportRef:
    """The base with and without words for the look, and how far each moves it towards the screenshots."""
    from lora_core.dataset import load_manifest, load_tags
    from lora_core.images.png import png_bytes
    from lora_core.judging.look import LOOK_WORDS, Instruments, ask
    from lora_core.sampling.sampler import SamplerConfig
    from lora_core.sampling.words import words_grid

    store = at.open_store("look")
    config = SamplerConfig(drawing.clip_skip, drawing.process, at.device, at.speed)
    screenshots = load_manifest(store, character.pictures), load_tags(store, character.tags)
    tagger, other, encoder = (
        store.tree(each.sha256) if each else {} for each in (character.tagger, question.classifier, question.embedder)
    )
    by = Instruments(tagger, other, question.classifier_label, encoder)
    own = (question.words,) if question.words else ()
    groups = [group for group in (own, tuple(word for word in LOOK_WORDS if word not in own)) if group]
    report, drawn = ask(store, base, screenshots, groups, (drawing.options, config), by, progress)
    files = {LOOK_PICTURE: store.put_bytes(png_bytes(words_grid(store, drawn)))}
    files[_REPORT] = store.put_json(report.model_dump(mode="json"))
    return ReportRef(sha256=store.put_tree({name: store.path(digest) for name, digest in files.items()}))


def decided(recipe: Recipe, seen: ReportRef, at: RunContext) -> Recipe:
    """The recipe with the method that suits the base, validated anew; the dearer one where that is not known yet.

    Where no style screenshots are named, redrawing has to keep the look out alone: what shows it is not selected.

    Raises:
        RecipeError: the look must be taught, and there are no screenshots to teach it from, nor does anything see it.
    """
    if seen.is_pending:
        return _with(recipe, "note" if recipe.style.images else "captions-only")
    report = read_look(seen, at)
    method, reason = report.method, report.reason
    if method == "note" and not recipe.style.images and recipe.redraw.use and report.measured_by:
        method, reason = (
            "captions-only",
            f"{reason}; but no style screenshots are named, so redrawing alone leaves it out",
        )
    if not idle_walk():
        say(f"method: {method}, for {reason}")
    try:
        taken = _with(recipe, method)
    except RecipeError as error:
        raise RecipeError(f"{error}. Why {method}: {reason}") from None
    return taken.model_copy(update={"captions": report.captions(taken.captions)})


def read_look(seen: ReportRef, at: RunContext) -> "LookReport":
    """What a finished step found."""
    from lora_core.judging.look import LookReport

    return LookReport.model_validate_json(at.open_store().tree(seen.sha256)[_REPORT].read_bytes())


def _with(recipe: Recipe, method: str) -> Recipe:
    said = recipe.model_dump(exclude_unset=True)
    return parse_recipe({**said, "method": method}, f"method 'auto', which comes to '{method}'")
