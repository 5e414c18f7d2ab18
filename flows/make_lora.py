"""The whole method as one graph (docs/method.md). Every step is cached, so a run goes on where the last one ended."""

from typing import Literal, NamedTuple

from prefect import flow

from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, ReportRef, TagsRef
from lora_core.report.made import Made
from tasks.caption import check_content, edit_captions, find_rules
from tasks.check import check_merge, check_style
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


class Tagged(NamedTuple):
    """A set of square pictures and what the tagger sees in them."""

    pictures: DatasetRef
    tags: TagsRef


class Styled(NamedTuple):
    """Stages 1 and 2: the style LoRA, the base with it in, and the checks of both."""

    lora: LoraRef
    check: ReportRef
    merged: CheckpointRef
    merge_check: ReportRef


@flow(name="headcanon", validate_parameters=False)
def make_lora(recipe: Recipe, at: At, until: Until = "publish") -> str:
    """Screenshots in, character LoRA out; stops after the step `until`. Returns the folder it published, or ""."""
    with stopping_all_when_one_fails():
        base, tagger = find_base(recipe.base, at), find_tagger(recipe.tagger, at)
        rules = find_rules(recipe.captions, recipe.trigger)
        shots = find_screenshots(recipe.style.images, at), find_screenshots(recipe.character.images, at)
        found = (base, tagger, *shots)
        check_name(recipe, rules, found)

        squares = [preprocess(shot, recipe.preprocess, at) for shot in shots]
        if until == "preprocess":
            return ""
        style, character = (without_remarks(square, at) for square in squares)
        tagged_pictures(style, tagger, recipe.style.identifier, at)
        pictures, tags = tagged_pictures(character, tagger, recipe.trigger, at)
        if until == "tag":
            return ""
        training = None
        if until != "caption":
            training = train_style.submit(
                base, style, style_tokens(recipe), recipe.style_training, recipe.base.clip_skip, at
            )
        captioned = edit_captions(pictures, tags, rules, recipe.trigger, recipe.tagger.threshold, at)
        copies = downscale(captioned, recipe.downscale.size, at) if recipe.downscale.size else None
        if training is None:
            return ""

        styled = styled_base(recipe, base, training.result(), at)
        if until == "merge":
            return ""
        lora = train_character(
            recipe.name, recipe.trigger, styled.merged, captioned, copies, recipe.downscale, style,
            style_tokens(recipe), recipe.regularization, recipe.character_training, recipe.base.clip_skip, at,
        )  # fmt: skip
        if until == "train":
            return ""
        samples = sample_epochs(base, lora, recipe.sampling, recipe.trigger, recipe.base.clip_skip, at)
        if until == "sample":
            return ""
        verdict = judge(
            samples, pictures, tags, rules, recipe.trigger, recipe.tagger.threshold, tagger, recipe.judging, at
        )
        if until == "judge":
            return ""
        made = Made(
            base=base, style_squares=squares[0], squares=squares[1], pictures=pictures, captioned=captioned,
            style_lora=styled.lora, style_check=styled.check, merge_check=styled.merge_check, lora=lora,
            samples=samples, verdict=verdict,
        )  # fmt: skip
        folder = publish(recipe, report(without_place(recipe), made, tags, rules, at), rules, found, at)
        tidy(at)
        return folder


def tagged_pictures(pictures: DatasetRef, tagger: CheckpointRef, word: str, at: At) -> Tagged:
    """Pictures and what is in them, passed by the content rule: before anything is trained on them."""
    tags = tag(pictures, tagger, at)
    check_content(pictures, tags, (word,), at)
    return Tagged(pictures, tags)


def styled_base(recipe: Recipe, base: CheckpointRef, lora: LoraRef, at: At) -> Styled:
    """Stage 2: the base with the 3D look in it. No character in here: the next one finds it all cached."""
    tokens, clip_skip = style_tokens(recipe), recipe.base.clip_skip
    check = check_style(base, lora, tokens, recipe.sampling, clip_skip, at)
    merged = merge(base, lora, recipe.merge, at)
    return Styled(lora, check, merged, check_merge(base, lora, merged, recipe.merge, recipe.sampling, clip_skip, at))


def style_tokens(recipe: Recipe) -> str:
    """DreamBooth's identifier and class."""
    return f"{recipe.style.identifier} {recipe.style.class_word}"
