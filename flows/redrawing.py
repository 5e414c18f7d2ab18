"""The graph's last part: samples and their verdict; the character drawn anew, and the final LoRA trained on that.

Every round draws with the LoRA of the one before. Which of all of them is published is decided by their verdicts.
"""

from flows.artifacts import CaptionedSet, Inputs, JudgedLora, RedrawRound
from flows.gate import pass_redraw_gate
from lora_core.captions.rules import redrawn_rules
from lora_core.recipe import Judging, Recipe, Regularization
from lora_core.refs import DatasetRef, LoraRef, ReportRef
from tasks.caption import captioned, edit_captions
from tasks.groups import CharacterSets, Drawing, Judge, Scenes
from tasks.judge import judge
from tasks.redraw import best_number, mix_in, redraw, select_redrawn, take_chosen
from tasks.runtime import RunContext
from tasks.sample import sample_epochs
from tasks.tag import tag
from tasks.train import train_character
from tasks.walking import stage


def redraw_rounds(
    lora: LoraRef, captions: CaptionedSet, inputs: Inputs, recipe: Recipe, at: RunContext
) -> tuple[RedrawRound, ...]:
    """Every round: judge, draw, select, caption, train. None where the recipe does not redraw."""
    rounds: list[RedrawRound] = []
    for number in range(recipe.redraw.rounds if recipe.redraw.use else 0):
        before = judge_before(rounds[-1].lora if number else lora, captions, inputs, recipe, at)
        drawn = draw_anew(before, captions, inputs, recipe, at)
        selected = select(drawn, captions, inputs, recipe, at)
        pictures = caption_redrawn(selected, captions, inputs, recipe, at)
        rounds.append(RedrawRound(before, drawn, selected, pictures, learn_redrawn(pictures, inputs, recipe, at)))
    return tuple(rounds)


def judge_before(lora: LoraRef, captions: CaptionedSet, inputs: Inputs, recipe: Recipe, at: RunContext) -> JudgedLora:
    """The epoch that draws: by the rule, for a choice by hand is meant for the LoRA that is published."""
    samples = draw(lora, inputs, recipe, at)
    by_rule = recipe.judging.model_copy(update={"epoch": 0, "weight": 0})
    return JudgedLora(lora, samples, judge_samples(samples, captions, inputs, by_rule, at))


def judge_last(lora: LoraRef, captions: CaptionedSet, inputs: Inputs, recipe: Recipe, at: RunContext) -> JudgedLora:
    """The last LoRA's epochs: a run to `sample` or `judge` ends here."""
    here = at.on("redrawn") if recipe.redraw.use else at
    samples = stage("sample")(draw)(lora, inputs, recipe, here)
    return JudgedLora(lora, samples, stage("judge")(judge_samples)(samples, captions, inputs, recipe.judging, here))


def draw(lora: LoraRef, inputs: Inputs, recipe: Recipe, at: RunContext) -> ReportRef:
    """Every epoch, on the original base."""
    return sample_epochs(inputs.base, lora, recipe.trigger, drawing_of(recipe), at)


def judge_samples(
    samples: ReportRef, captions: CaptionedSet, inputs: Inputs, judging: Judging, at: RunContext
) -> ReportRef:
    """Metrics of every epoch and weight, and the one that the rule chooses."""
    by = Judge(inputs.tagger, inputs.classifier, inputs.embedder, judging.without_place)
    return judge(samples, captions.captions, by, at)


@stage("redraw")
def draw_anew(before: JudgedLora, captions: CaptionedSet, inputs: Inputs, recipe: Recipe, at: RunContext) -> ReportRef:
    """The character with its traits named, in many scenes, on the original base."""
    scenes = Scenes(captions.captions, inputs.rules, recipe.plan, recipe.redraw.drawing)
    sampling = recipe.sampling.square(recipe.character_training.resolution)
    return redraw(inputs.base, before.lora, before.verdict, scenes, drawing_of(recipe)._replace(options=sampling), at)


@stage("select")
def select(drawn: ReportRef, captions: CaptionedSet, inputs: Inputs, recipe: Recipe, at: RunContext) -> ReportRef:
    """The pictures that the final LoRA is trained on, as tagger and judge say, and then a person if it is asked."""
    scenes = Scenes(captions.captions, inputs.rules, recipe.plan, recipe.redraw.selecting)
    by = Judge(inputs.tagger, inputs.classifier, None, recipe.judging.of_pictures)

    def without(left_out: tuple[str, ...]) -> ReportRef:
        return select_redrawn(drawn, scenes, by, left_out, at)

    return pass_redraw_gate(recipe.gates, without, at)


def caption_redrawn(
    selected: ReportRef, captions: CaptionedSet, inputs: Inputs, recipe: Recipe, at: RunContext
) -> DatasetRef:
    """Captions by the same rules, without what soaks up the look; screenshots beside them where the recipe says so."""
    here, chosen = at.on("redrawn"), take_chosen(selected, at)
    tags = tag(chosen, inputs.tagger, here)
    written = edit_captions(chosen, tags, redrawn_rules(inputs.rules), recipe.trigger, inputs.least, here)
    pictures, share = captioned(written, at), recipe.redraw.screenshots
    return mix_in(pictures, captions.pictures, share, recipe.style.identifier, at) if share else pictures


def learn_redrawn(pictures: DatasetRef, inputs: Inputs, recipe: Recipe, at: RunContext) -> LoraRef:
    """The final LoRA: plain, straight on the original base."""
    no_copies = recipe.downscale.model_copy(update={"size": 0})
    sets = CharacterSets(pictures, None, no_copies, None, "", Regularization(use=False))
    here = at.on("redrawn")
    return train_character(
        recipe.name, recipe.trigger, inputs.base, sets, recipe.final_training, recipe.base.reading, here
    )


def better(rounds: tuple[RedrawRound, ...], last: JudgedLora, at: RunContext) -> JudgedLora:
    """The LoRA that is published: the last, unless one before it is better."""
    every = (*(each.before for each in rounds), last)
    return every[best_number(tuple(each.verdict for each in every), at)]


def drawing_of(recipe: Recipe) -> Drawing:
    """What every epoch and check draws, on the recipe's base."""
    return Drawing(recipe.sampling.on_one_base, *recipe.base.reading)
