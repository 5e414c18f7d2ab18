"""The whole method as one graph (docs/method.md). Every step is cached, so a run goes on where the last one ended."""

from typing import Literal, NamedTuple

from prefect import flow

from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from lora_core.report.made import Made
from lora_core.tagging.select import thresholds
from tasks.caption import check_content, edit_captions, find_rules
from tasks.check import check_merge, check_style
from tasks.compositions import check_plan, settle_character, settle_style
from tasks.find import find_base, find_screenshots, find_tagger
from tasks.judge import judge
from tasks.merge import merge
from tasks.preprocess import downscale, preprocess, without_remarks
from tasks.publish import check_name, publish, report, tidy, without_place
from tasks.runtime import At, stopping_all_when_one_fails
from tasks.sample import sample_epochs
from tasks.tag import tag
from tasks.train import train_character, train_style

Until = Literal["preprocess", "tag", "caption", "merge", "train", "sample", "judge", "publish"]


class Styled(NamedTuple):
    """Stages 1 and 2: what the character is trained on, the style LoRA that is in it, and the checks of both."""

    base: CheckpointRef
    lora: LoraRef | None = None
    check: ReportRef | None = None
    merge_check: ReportRef | None = None


@flow(name="headcanon", validate_parameters=False)
def make_lora(recipe: Recipe, at: At, until: Until = "publish") -> str:
    """Screenshots in, character LoRA out; stops after the step `until`. Returns the folder it published, or ""."""
    with stopping_all_when_one_fails():
        base, tagger = find_base(recipe.base, at), find_tagger(recipe.tagger, at)
        rules, least = find_rules(recipe.captions, recipe.trigger), thresholds(recipe.tagger)
        shots = find_screenshots(recipe.style.images, at), find_screenshots(recipe.character.images, at)
        found = (base, tagger, *shots)
        check_name(recipe, rules, found)

        squares = [preprocess(shot, recipe.preprocess, at) for shot in shots]
        if until == "preprocess":
            return ""
        style, pictures = (without_remarks(square, at) for square in squares)
        style_tags, tags = tag(style, tagger, at), tag(pictures, tagger, at)
        check_content((style, pictures), (style_tags, tags), words(recipe), at)
        style_squares = settle_style(squares[0], style_tags, at)
        character_squares = settle_character(squares[1], tags, rules, recipe.preprocess, at)
        check_plan(style_squares, character_squares, recipe.plan, at)
        pictures = without_remarks(character_squares, at)
        if until == "tag":
            return ""
        training = None
        if until != "caption" and recipe.merge.use:
            training = train_style.submit(
                base, style, style_tokens(recipe), recipe.style_training, *recipe.base.reading, at
            )
        captioned = edit_captions(pictures, tags, rules, recipe.trigger, least, at)
        copies = downscale(captioned, recipe.downscale.size, at) if recipe.downscale.size else None
        if until == "caption":
            return ""

        styled = styled_base(recipe, base, training.result(), at) if training else Styled(base)
        if until == "merge":
            return ""
        lora = train_character(
            recipe.name, recipe.trigger, styled.base, captioned, copies, recipe.downscale, style,
            style_tokens(recipe), recipe.regularization, recipe.character_training, *recipe.base.reading, at,
        )  # fmt: skip
        if until == "train":
            return ""
        samples = sample_epochs(base, lora, recipe.sampling, recipe.trigger, *recipe.base.reading, at)
        if until == "sample":
            return ""
        verdict = judge(samples, pictures, tags, rules, recipe.trigger, least, tagger, recipe.judging, at)
        if until == "judge":
            return ""
        made = Made(
            base=base, style_squares=style_squares, squares=character_squares, pictures=pictures, captioned=captioned,
            style_lora=styled.lora, style_check=styled.check, merge_check=styled.merge_check, lora=lora,
            samples=samples, verdict=verdict,
        )  # fmt: skip
        folder = publish(recipe, report(without_place(recipe), made, tags, rules, at), rules, found, at)
        tidy(at)
        return folder


def styled_base(recipe: Recipe, base: CheckpointRef, lora: LoraRef, at: At) -> Styled:
    """Stage 2: the base with the 3D look in it. No character in here: the next one finds it all cached."""
    tokens, reading = style_tokens(recipe), recipe.base.reading
    check = check_style(base, lora, tokens, recipe.sampling, *reading, at)
    merged = merge(base, lora, recipe.merge, at)
    return Styled(merged, lora, check, check_merge(base, lora, merged, recipe.merge, recipe.sampling, *reading, at))


def style_tokens(recipe: Recipe) -> str:
    """DreamBooth's identifier and class."""
    return f"{recipe.style.identifier} {recipe.style.class_word}"


def words(recipe: Recipe) -> tuple[str, ...]:
    """What a recipe says of its characters, for the content rule."""
    return recipe.name, recipe.trigger, style_tokens(recipe), *recipe.sampling.prompts, *recipe.sampling.style_prompts
