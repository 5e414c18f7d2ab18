"""The graph's first paragraphs: find what the recipe names, prepare and tag both sets, settle the method."""

from flows.artifacts import Inputs, PreparedSets, Sets
from flows.redrawing import drawing_of
from lora_core.captions.content import Said, words_of
from lora_core.captions.rules import style_rules
from lora_core.captions.tags import escaped, spaced
from lora_core.judging.look import asking
from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef, DatasetRef, ReportRef
from lora_core.tagging.select import thresholds
from tasks.caption import captioned, check_content, edit_captions, find_rules, refuse_at_once
from tasks.compositions import check_plan, settle_for_captions, settle_style
from tasks.find import (
    find_base,
    find_classifier,
    find_embedder,
    find_screenshots,
    find_start,
    find_tagger,
    further_bases,
)
from tasks.groups import Question, TaggedSet
from tasks.look import decided, look
from tasks.preprocess import preprocess, without_remarks
from tasks.runtime import RunContext
from tasks.steps import Branch
from tasks.tag import tag
from tasks.train import find_optimizers
from tasks.walking import stage


def find(recipe: Recipe, at: RunContext) -> Inputs:
    """Everything the recipe names, before any work; the content rule is asked before the screenshots are looked for."""
    find_optimizers(recipe.style_training, recipe.character_training)
    rules, base, tagger = find_rules(recipe), find_base(recipe.base, at), find_tagger(recipe.tagger, at)
    refuse_at_once(words_of(recipe, rules), base, tagger, recipe.tagger.model, at)
    return Inputs(
        base, tagger,
        find_screenshots(recipe.style.folders, at) if recipe.style.folders else None,
        find_screenshots(recipe.character.folders, at),
        rules, thresholds(recipe.tagger),
        find_classifier(recipe.judging, at), find_embedder(recipe.judging, at), find_start(recipe, base, at),
        further_bases(recipe.sampling, at),
    )  # fmt: skip


@stage("preprocess")
def prepare(screenshots: Sets, recipe: Recipe, at: RunContext) -> Sets:
    """Square pictures on white, of every set."""
    return {name: preprocess(each, recipe.preprocess, at.on(name)) for name, each in screenshots.items()}


@stage("tag")
def tag_sets(squares: Sets, inputs: Inputs, recipe: Recipe, at: RunContext) -> PreparedSets:
    """Tag both sets; settle compositions, and say how the sets differ from the plan."""
    found = tagged(squares, inputs.base, inputs.tagger, words_of(recipe, inputs.rules), at)
    character, style, its_squares = found["character"], found.get("style"), squares.get("style")
    style_squares = None
    if style and its_squares:
        style_squares = settle_style(its_squares, style.tags, at)
        style = with_words(style, its_squares, recipe, at)
    settled = settle_for_captions(squares["character"], character.tags, inputs.rules, recipe.preprocess, at)
    check_plan(style_squares, settled, recipe.plan, at)
    return PreparedSets(style_squares, settled, style, character._replace(pictures=without_remarks(settled, at)))


def tagged(
    squares: Sets, base: CheckpointRef, tagger: CheckpointRef, words: tuple[str | Said, ...], at: RunContext
) -> dict[Branch, TaggedSet]:
    """Every set's pictures and their tags; forbidden content of all together is refused."""
    pictures = {name: without_remarks(each, at) for name, each in squares.items()}
    sets = {name: TaggedSet(each, tag(each, tagger, at.on(name)), tagger) for name, each in pictures.items()}
    check_content(tuple(pictures.values()), tuple(each.tags for each in sets.values()), words, base, at)
    return sets


def with_words(style: TaggedSet, squares: DatasetRef, recipe: Recipe, at: RunContext) -> TaggedSet:
    """The style set with words for all that is seen but the look, where the recipe wants them."""
    if not recipe.captions_style:
        return style
    rules, who, least = style_rules(), recipe.style.identifier, thresholds(recipe.tagger)
    pictures = without_remarks(settle_for_captions(squares, style.tags, rules, recipe.preprocess, at), at)
    captions = edit_captions(pictures, style.tags, rules, who, least, at.on("style"))
    return style._replace(pictures=captioned(captions, at))


@stage("look")
def settle_method(
    sets: PreparedSets, inputs: Inputs, recipe: Recipe, at: RunContext
) -> tuple[Recipe, Inputs, ReportRef | None]:
    """Method `auto`: ask the base what it knows of the look, and take the method that suits it."""
    if recipe.is_decided:
        return recipe, inputs, None
    drawing, words = drawing_of(recipe), (*inputs.rules.add, *inputs.rules.face)
    said = ", ".join(escaped(spaced(word)) for word in words)
    question = Question(said, inputs.classifier, recipe.judging.classifier_label, inputs.embedder)
    drawing = drawing._replace(options=asking(drawing.options))
    seen = look(inputs.base, sets.character, question, drawing, at)
    recipe = decided(recipe, seen, at)
    return recipe, inputs._replace(rules=find_rules(recipe)), seen
