"""The whole method as one graph (docs/method.md). Every step is cached, so a run goes on where the last one ended."""

from typing import Literal, NamedTuple

from prefect import flow

from flows.gate import pass_epoch_gate, pass_gate
from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, ReportRef, TagsRef
from lora_core.report.made import Made
from lora_core.tagging.select import thresholds
from tasks.caption import check_content, edit_captions, find_rules
from tasks.check import check_captions, check_merge, check_style, tell_findings
from tasks.compositions import check_plan, settle_character, settle_style
from tasks.find import find_base, find_classifier, find_screenshots, find_tagger, further_bases
from tasks.judge import judge, transfer
from tasks.merge import merge
from tasks.preprocess import downscale, preprocess, without_remarks
from tasks.publish import check_name, publish, push, report, tell, tidy, without_place
from tasks.runtime import At, stopping_all_when_one_fails
from tasks.sample import sample_epochs
from tasks.subtract import subtract
from tasks.tag import tag
from tasks.train import train_character, train_style

Until = Literal["preprocess", "tag", "caption", "merge", "train", "sample", "judge", "publish"]


class Styled(NamedTuple):
    """Stages 1 and 2: what the character is trained on, the style LoRA, and the checks of both."""

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
        if until != "caption" and recipe.trains_style:
            training = train_style.submit(
                base, style, style_tokens(recipe), recipe.style_training, *recipe.base.reading, at
            )
        captioned = edit_captions(pictures, tags, rules, recipe.trigger, least, at)
        told = check_captions(pictures, tags, rules, recipe.trigger, least, at)
        tell_findings(told, at)
        pass_gate(recipe.gates.captions, "captions", told, recipe.gates, at)
        copies = downscale(captioned, recipe.downscale.size, at) if recipe.downscale.size else None
        if until == "caption":
            return ""

        seen = Seen(style, style_tags, tagger)
        styled = styled_base(recipe, base, training.result(), seen, at) if training else Styled(base)
        if until == "merge":
            return ""
        lora = train_character(
            recipe.name, recipe.trigger, styled.base, captioned, copies, recipe.downscale, style,
            style_tokens(recipe), recipe.regularization, recipe.character_training, *recipe.base.reading, at,
        )  # fmt: skip
        if until == "train":
            return ""
        if styled.lora and recipe.difference.use:
            lora = subtract(lora, styled.lora, recipe.difference, at)
        samples = sample_epochs(base, lora, recipe.sampling.on_one_base, recipe.trigger, *recipe.base.reading, at)
        if until == "sample":
            return ""
        judging, second = recipe.judging.without_place, find_classifier(recipe.judging, at)
        verdict = judge(samples, pictures, tags, rules, recipe.trigger, least, tagger, second, judging, at)
        if until == "judge":
            return ""
        verdict = pass_epoch_gate(recipe, samples, verdict, at)
        elsewhere = tuple(
            (name, transfer(
                other, lora, verdict, pictures, tags, rules, recipe.trigger, least, tagger,
                recipe.sampling.on_one_base, judging, recipe.base.clip_skip, at,
            ))
            for name, other in further_bases(recipe.sampling, at)
        )  # fmt: skip
        made = Made(
            base=base, style_squares=style_squares, squares=character_squares, pictures=pictures, captioned=captioned,
            style_lora=styled.lora, style_check=styled.check, merge_check=styled.merge_check, caption_check=told,
            lora=lora, samples=samples, verdict=verdict, transfer=elsewhere,
        )  # fmt: skip
        files = report(without_place(recipe), made, tags, rules, at)
        folder = publish(recipe, files, rules, found, at)
        tell(recipe, verdict, samples, folder, push(recipe, files, at), at)
        tidy(at)
        return folder


class Seen(NamedTuple):
    """The style screenshots and what the tagger sees in them."""

    pictures: DatasetRef
    tags: TagsRef
    tagger: CheckpointRef


def styled_base(recipe: Recipe, base: CheckpointRef, lora: LoraRef, seen: Seen, at: At) -> Styled:
    """Stage 2: the base with the 3D look in it. No character in here: the next one finds it all cached."""
    tokens, reading, gates, drawing = (
        style_tokens(recipe),
        recipe.base.reading,
        recipe.gates,
        recipe.sampling.on_one_base,
    )
    check = check_style(base, lora, tokens, *seen, gates.style_share, drawing, *reading, at)
    pass_gate(gates.style, "style LoRA", check, gates, at)
    if not recipe.merge.use:
        return Styled(base, lora, check)
    merged = merge(base, lora, recipe.merge, at)
    merge_check = check_merge(base, lora, merged, recipe.merge, *seen, gates.merge_share, drawing, *reading, at)
    pass_gate(gates.merge, "merged model", merge_check, gates, at)
    return Styled(merged, lora, check, merge_check)


def style_tokens(recipe: Recipe) -> str:
    """DreamBooth's identifier and class."""
    return f"{recipe.style.identifier} {recipe.style.class_word}"


def words(recipe: Recipe) -> tuple[str, ...]:
    """What a recipe says of its characters, for the content rule."""
    return recipe.name, recipe.trigger, style_tokens(recipe), *recipe.sampling.prompts, *recipe.sampling.style_prompts
