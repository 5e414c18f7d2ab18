"""The graph's last part: samples and their verdict; the character drawn anew, and the final LoRA trained on that.

Every round draws with the LoRA of the one before. Which of all of them is published is decided by their verdicts.
"""

from flows.artifacts import CaptionedSet, Inputs, JudgedLora, RedrawRound, TaggedSet
from flows.gate import pass_redraw_gate
from lora_core.recipe import Judging, Recipe, Regularization
from lora_core.redraw.choose import redrawn_rules
from lora_core.redraw.draw import square
from lora_core.refs import DatasetRef, LoraRef, ReportRef
from tasks.caption import edit_captions
from tasks.judge import judge
from tasks.redraw import Known, best_number, mix_in, redraw, select_redrawn, take_chosen
from tasks.runtime import At
from tasks.sample import sample_epochs
from tasks.tag import tag
from tasks.train import train_character
from tasks.walking import stage


def redraw_rounds(
    lora: LoraRef, character: TaggedSet, captioned: CaptionedSet, inputs: Inputs, recipe: Recipe, at: At
) -> tuple[RedrawRound, ...]:
    """Every round: judge, draw, select, caption, train. None where the recipe does not redraw."""
    known = Known(character.pictures, character.tags, inputs.rules, recipe.trigger, inputs.least)
    rounds: list[RedrawRound] = []
    for number in range(recipe.redraw.rounds if recipe.redraw.use else 0):
        before = judge_before(rounds[-1].lora if number else lora, character, inputs, recipe, at)
        drawn = draw_anew(before, known, inputs, recipe, at)
        selected = select(drawn, known, inputs, recipe, at)
        pictures = caption_redrawn(selected, captioned, inputs, recipe, at)
        rounds.append(RedrawRound(before, drawn, selected, pictures, learn_redrawn(pictures, inputs, recipe, at)))
    return tuple(rounds)


def judge_before(lora: LoraRef, character: TaggedSet, inputs: Inputs, recipe: Recipe, at: At) -> JudgedLora:
    """The epoch that draws: by the rule, for a choice by hand is meant for the LoRA that is published."""
    samples = draw(lora, inputs, recipe, at)
    by_rule = recipe.judging.model_copy(update={"epoch": 0, "weight": 0})
    return JudgedLora(lora, samples, judge_samples(samples, character, inputs, recipe, by_rule, at))


def judge_last(lora: LoraRef, character: TaggedSet, inputs: Inputs, recipe: Recipe, at: At) -> JudgedLora:
    """The last LoRA's epochs: a run to `sample` or `judge` ends here."""
    here = at.on("redrawn") if recipe.redraw.use else at
    samples = stage("sample")(draw)(lora, inputs, recipe, here)
    return JudgedLora(
        lora, samples, stage("judge")(judge_samples)(samples, character, inputs, recipe, recipe.judging, here)
    )


def draw(lora: LoraRef, inputs: Inputs, recipe: Recipe, at: At) -> ReportRef:
    """Every epoch, on the original base."""
    drawing = recipe.sampling.on_one_base
    return sample_epochs(inputs.base, lora, drawing, recipe.trigger, *recipe.base.reading, at)


def judge_samples(
    samples: ReportRef, character: TaggedSet, inputs: Inputs, recipe: Recipe, options: Judging, at: At
) -> ReportRef:
    """Metrics of every epoch and weight, and the one that the rule chooses."""
    return judge(
        samples, character.pictures, character.tags, inputs.rules, recipe.trigger, inputs.least, inputs.tagger,
        inputs.classifier, inputs.embedder, options.without_place, at,
    )  # fmt: skip


@stage("redraw")
def draw_anew(before: JudgedLora, known: Known, inputs: Inputs, recipe: Recipe, at: At) -> ReportRef:
    """The character with its traits named, in many scenes, on the original base."""
    sampling = square(recipe.sampling, recipe.character_training.resolution)
    return redraw(
        inputs.base, before.lora, before.verdict, known, recipe.plan, recipe.redraw.drawing, sampling,
        *recipe.base.reading, at,
    )  # fmt: skip


@stage("select")
def select(drawn: ReportRef, known: Known, inputs: Inputs, recipe: Recipe, at: At) -> ReportRef:
    """The pictures that the final LoRA is trained on, as tagger and judge say, and then a person if it is asked."""

    def without(left_out: tuple[str, ...]) -> ReportRef:
        judging = recipe.judging.copying
        return select_redrawn(drawn, known, inputs.tagger, recipe.plan, recipe.redraw.selecting, judging, left_out, at)

    return pass_redraw_gate(recipe.gates, without, at)


def caption_redrawn(selected: ReportRef, captioned: CaptionedSet, inputs: Inputs, recipe: Recipe, at: At) -> DatasetRef:
    """Captions by the same rules, without what soaks up the look; screenshots beside them where the recipe says so."""
    here = at.on("redrawn")
    chosen = take_chosen(selected, at)
    tags = tag(chosen, inputs.tagger, here)
    pictures = edit_captions(chosen, tags, redrawn_rules(inputs.rules), recipe.trigger, inputs.least, here)
    share = recipe.redraw.screenshots
    return mix_in(pictures, captioned.pictures, share, recipe.style.identifier, at) if share else pictures


def learn_redrawn(pictures: DatasetRef, inputs: Inputs, recipe: Recipe, at: At) -> LoraRef:
    """The final LoRA: plain, straight on the original base."""
    training, epochs = recipe.character_training, recipe.redraw.epochs
    options = training.model_copy(update={"epochs": epochs}) if epochs else training
    alone = recipe.downscale.model_copy(update={"size": 0})
    return train_character(
        recipe.name, recipe.trigger, inputs.base, pictures, None, alone, None, "", Regularization(use=False), options,
        *recipe.base.reading, at.on("redrawn"),
    )  # fmt: skip


def better(rounds: tuple[RedrawRound, ...], last: JudgedLora, at: At) -> JudgedLora:
    """The LoRA that is published: the last, unless one before it is better."""
    every = (*(each.before for each in rounds), last)
    return every[best_number(tuple(each.verdict for each in every), at)]
