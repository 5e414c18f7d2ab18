"""The whole method as one graph (docs/method.md), written down here and nowhere else.

It is run to its end or to a target (`make_lora`), peeked at (`peek`), or run for its style branch (`make_style`).
Every step is cached, so a run resumes where the last one ended. After the target nothing runs: all refs are pending.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from prefect import flow

from flows.artifacts import CaptionedSet, Inputs, RunArtifacts, StyledBase
from flows.ending import end_as_asked
from flows.errors import recompute_damaged
from flows.gate import pass_epoch_gate, pass_gate, pass_successor_gate
from flows.preparing import find, prepare, settle_method, tag_sets, tagged, with_words
from flows.redrawing import better, drawing_of, judge_last, redraw_rounds
from lora_core.captions.content import style_words_of
from lora_core.errors import RecipeError
from lora_core.recipe import Process, Recipe
from lora_core.refs import CaptionsRef, CheckpointRef, LoraRef, ReportRef
from lora_core.report.data import ReportInputs
from tasks.caption import captioned, edit_captions, refuse_at_once
from tasks.check import check_captions, check_merge, check_style, tell_findings
from tasks.find import (
    find_base,
    find_screenshots,
    find_tagger,
)
from tasks.groups import CharacterSets, Judge, Merging, TaggedSet
from tasks.judge import transfer
from tasks.merge import merge, with_word
from tasks.preprocess import downscale
from tasks.publish import check_name, check_successor, publish, push, report, tell, tidy, without_place
from tasks.runtime import RunContext
from tasks.steps import Until
from tasks.stopping import stopping_all_when_one_fails
from tasks.subtract import subtract
from tasks.time_left import Ask, run_clock, whole_run
from tasks.train import find_optimizers, prepare_to_train, train_character, train_style
from tasks.walking import Visit, idle_walk, stage, target, walking

# Steps that are done together, so that a run ends after all of them.
_CAPTIONS = stage("caption", "check captions", "downscale")


@flow(name="headcanon", flow_run_name="{recipe.name}", validate_parameters=False, persist_result=False)
@end_as_asked
@recompute_damaged
def make_lora(recipe: Recipe, at: RunContext, until: Until = "publish") -> RunArtifacts:
    """Screenshots in, character LoRA out; ends after the step `until`."""
    if until != "publish":
        refuse_other_steps(recipe, at, until)
    with stopping_all_when_one_fails(), walking(until), whole_run(partial(_expected, recipe, at, until)):
        return graph(recipe, at)


def refuse_other_steps(recipe: Recipe, at: RunContext, until: Until) -> None:
    """Refuse a target that the recipe never comes to; the run would go on to its end.

    Raises:
        RecipeError: naming the steps that there are.
    """
    steps = tuple(dict.fromkeys(visit.step for visit in peek(recipe, at, "publish").steps))
    if until not in steps:
        raise RecipeError(f"--until {until}: this recipe has no such step; its steps: {', '.join(steps)}")


def _expected(recipe: Recipe, at: RunContext, until: Until) -> Ask:
    from flows.cost import expecting  # it plans with this very graph, and needs what trainings need

    return expecting(recipe, at) if until == "publish" else lambda _: {}


@recompute_damaged
def make_style(recipe: Recipe, at: RunContext) -> StyledBase | None:
    """Stages 1 and 2 on their own. They hold no character: every later one finds them finished."""
    if not recipe.trains_style:
        return None
    with stopping_all_when_one_fails(), walking():
        return style_branch(recipe, at)


class Peeked(NamedTuple):
    """What is finished of a run, and each of its steps."""

    artifacts: RunArtifacts
    steps: tuple[Visit, ...]

    @property
    def is_finished(self) -> bool:
        """Whether a run would find all of it cached."""
        return all(step.ref for step in self.steps)


def peek(recipe: Recipe, at: RunContext, until: Until = "judge") -> Peeked:
    """Everything that is finished, without running anything; after a step that is not, nothing can be known."""
    with walking(until, peeking=True) as walk:
        return Peeked(graph(recipe, at), tuple(walk.visits))


def graph(recipe: Recipe, at: RunContext) -> RunArtifacts:
    """The method, from screenshots to the published folder."""
    inputs = find(recipe, at)
    if target() == "publish":
        check_name(recipe, inputs.rules, inputs.files)
    squares = prepare(inputs.screenshots, recipe, at)
    sets = tag_sets(squares, inputs, recipe, at)
    named, asked = inputs, recipe
    recipe, inputs, seen = settle_method(sets, inputs, recipe, at)
    trained = begin_style(inputs.base, sets.style, recipe, at) if sets.style and recipe.trains_style else None
    captions = write_captions(sets.character, inputs, recipe, at)
    style_lora = finish_style(trained)
    styled = style_base(inputs.base, style_lora, sets.style, recipe, at)
    watched = at.showing(inputs.base, recipe.trigger, drawing_of(recipe))
    whole = learn_character(captions, sets.style, styled, inputs.start, recipe, watched)
    first = take_style_out(whole, styled, recipe, at)
    rounds = redraw_rounds(first, captions, inputs, recipe, at)
    last = judge_last(rounds[-1].lora if rounds else first, captions, inputs, recipe, at)
    lora, samples, judged = better(rounds, last, at)
    verdict = pass_epoch_gate(recipe, samples, judged, at)
    made = ReportInputs(
        base=inputs.base, style_squares=sets.style_squares, squares=sets.squares, captions=captions.captions,
        style_lora=styled.lora, style_check=styled.check, merge_check=styled.merge_check,
        caption_check=captions.check, lora=lora, samples=samples, verdict=verdict,
        transfer=try_elsewhere(lora, verdict, captions.captions, inputs, recipe, at),
        successor_check=check_successor(recipe, inputs.base, verdict, at),
        redrawn=tuple(each.reported for each in rounds), redrawn_verdict=last.verdict if rounds else None,
        start=inputs.start,
    )  # fmt: skip
    files = write_report(made, recipe, at)
    folder = hand_over(made, files, named, asked, at)
    return RunArtifacts(
        recipe, seen, inputs, squares, sets, captions, styled, whole, rounds, last, lora, samples, verdict, files,
        folder,
    )  # fmt: skip


def style_branch(recipe: Recipe, at: RunContext) -> StyledBase:
    """The style's part of the graph: the same paragraphs without a character."""
    base, tagger, words = find_base(recipe.base, at), find_tagger(recipe.tagger, at), style_words_of(recipe)
    find_optimizers(recipe.style_training)
    refuse_at_once(words, base, tagger, recipe.tagger.model, at)
    squares = prepare({"style": find_screenshots(recipe.style.folders, at)}, recipe, at)
    style = with_words(tagged(squares, base, tagger, words, at)["style"], squares["style"], recipe, at)
    return style_base(base, finish_style(begin_style(base, style, recipe, at)), style, recipe, at)


def begin_style(base: CheckpointRef, style: TaggedSet, recipe: Recipe, at: RunContext) -> Callable[[], LoraRef]:
    """Stage 1, which trains while the captions are written; not where the run ends after these."""
    options = recipe.style_training
    training = (base, style.pictures, style_tokens(recipe), options, recipe.base.reading, at)
    if target() in _CAPTIONS.steps or idle_walk():
        return partial(train_style, *training)
    if not train_style.is_finished(*training):
        prepare_to_train(options)
        run_clock().prepare()
    return train_style.begin(*training)


@_CAPTIONS
def write_captions(character: TaggedSet, inputs: Inputs, recipe: Recipe, at: RunContext) -> CaptionedSet:
    """Captions that leave out what the character is, checked, and small copies of the captioned pictures."""
    rules = (inputs.rules, recipe.trigger, inputs.least)
    captions = edit_captions(character.pictures, character.tags, *rules, at.on("character"))
    check = check_captions(captions, inputs.rules, recipe.character_training.max_token_length, at)
    tell_findings(check, at)
    pass_gate(recipe.gates.captions, "captions", check, recipe.gates, at)
    pictures = captioned(captions, at)
    copies = downscale(pictures, recipe.downscale.size, at) if recipe.downscale.size else None
    return CaptionedSet(captions, pictures, copies, check)


@stage("train style")
def finish_style(trained: Callable[[], LoraRef] | None) -> LoraRef | None:
    """The style LoRA, waited for."""
    return trained() if trained else None


@stage("check style", "merge", "check merge")
def style_base(
    base: CheckpointRef, lora: LoraRef | None, style: TaggedSet | None, recipe: Recipe, at: RunContext
) -> StyledBase:
    """Stage 2: the base with the 3D look in it. No character in here: the next one finds it all cached."""
    if lora is None or style is None:
        return StyledBase(base)
    if recipe.style_training.inversion:
        return StyledBase(with_word(base, lora, recipe.style.identifier, at), lora)
    gates, drawing = recipe.gates, drawing_of(recipe)
    check = check_style(base, lora, style_tokens(recipe), style, gates.style_share, drawing, at)
    pass_gate(gates.style, "style LoRA", check, gates, at)
    if not recipe.merge.use:
        return StyledBase(base, lora, check)
    merged = merge(base, lora, recipe.merge, at)
    made_of = Merging(base, lora, recipe.merge)
    merge_check = check_merge(merged, made_of, style, gates.merge_share, drawing, at)
    pass_gate(gates.merge, "merged model", merge_check, gates, at)
    return StyledBase(merged, lora, check, merge_check)


@stage("train character")
def learn_character(
    captions: CaptionedSet, style: TaggedSet | None, styled: StyledBase, start: LoraRef | None, recipe: Recipe,
    at: RunContext,
) -> LoraRef:  # fmt: skip
    """Stage 3: the character, trained where the look is known already."""
    sets = CharacterSets(
        captions.pictures, captions.copies, recipe.downscale,
        style.pictures if style else None, style_tokens(recipe), recipe.regularization, start,
    )  # fmt: skip
    options, reading = recipe.character_training, recipe.base.reading
    return train_character(recipe.name, recipe.trigger, styled.base, sets, options, reading, at)


@stage("subtract")
def take_style_out(lora: LoraRef, styled: StyledBase, recipe: Recipe, at: RunContext) -> LoraRef:
    """Method `difference`: the LoRA of look and character without the style LoRA."""
    return subtract(lora, styled.lora, recipe.difference, at) if styled.lora and recipe.difference.use else lora


def try_elsewhere(
    lora: LoraRef, verdict: ReportRef, captions: CaptionsRef, inputs: Inputs, recipe: Recipe, at: RunContext
) -> tuple[tuple[str, ReportRef], ...]:
    """The chosen epoch on further bases."""
    by = Judge(inputs.tagger, None, None, recipe.judging.without_place)
    drawing = drawing_of(recipe)._replace(process=Process())  # the recipe knows its own base's
    return tuple((name, transfer(other, lora, verdict, captions, by, drawing, at)) for name, other in inputs.further)


@stage("transfer", "report")
def write_report(made: ReportInputs, recipe: Recipe, at: RunContext) -> ReportRef:
    """Every file that is published."""
    return report(without_place(recipe), made, at)


def hand_over(made: ReportInputs, files: ReportRef, inputs: Inputs, recipe: Recipe, at: RunContext) -> str:
    """Publish, unless the last version is better, and clean up. Returns the folder."""
    if made.successor_check:
        pass_successor_gate(recipe, made.successor_check, files, at)
    folder = publish(recipe, files, inputs.rules, inputs.files, at)
    tell(recipe, made.verdict, made.samples, folder, push(recipe, files, at), at)
    tidy(at)
    return folder


def style_tokens(recipe: Recipe) -> str:
    """DreamBooth's identifier and class."""
    return f"{recipe.style.identifier} {recipe.style.class_word}"
