"""The whole method as one graph (docs/method.md). Every step is cached, so a run goes on where the last one ended."""

from typing import Literal, NamedTuple

from prefect import flow
from prefect.futures import PrefectFuture

from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef, DatasetRef, ReportRef, TagsRef
from tasks.caption import check_content, edit_captions, find_rules
from tasks.check import check_merge, check_style
from tasks.find import find_base, find_screenshots, find_tagger
from tasks.judge import judge
from tasks.merge import merge
from tasks.preprocess import downscale, preprocess
from tasks.publish import publish
from tasks.runtime import At, stopping_all_when_one_fails
from tasks.sample import sample_epochs
from tasks.tag import tag
from tasks.train import train_character, train_style

Until = Literal["preprocess", "tag", "caption", "merge", "train", "sample", "judge", "publish"]


class Tagged(NamedTuple):
    """A set of square pictures and what the tagger sees in them."""

    pictures: DatasetRef
    tags: TagsRef


@flow(name="headcanon", validate_parameters=False)
def make_lora(recipe: Recipe, at: At, until: Until = "publish") -> str:
    """Screenshots in, character LoRA out; stops after the step `until`. Returns the folder it published, or ""."""
    with stopping_all_when_one_fails():
        base, tagger = find_base(recipe.base, at), find_tagger(recipe.tagger, at)
        style = tagged(recipe.style.images, recipe, tagger, at)
        character = tagged(recipe.character.images, recipe, tagger, at)
        if until in ("preprocess", "tag"):
            return ""

        rules = find_rules(recipe.captions, at)
        captioned = edit_captions.submit(*character, rules, recipe.trigger, recipe.tagger.threshold, at)
        copies = downscale.submit(captioned, recipe.downscale.size, at) if recipe.downscale.size else None
        if until == "caption":
            captioned.result()
            return ""

        merged = merged_base(recipe, base, style.pictures, captioned, at)
        if until == "merge":
            return ""

        lora = train_character(
            recipe.name, recipe.trigger, merged, captioned, copies, recipe.downscale, style.pictures,
            style_tokens(recipe), recipe.regularization, recipe.character_training, recipe.base.clip_skip, at,
        )  # fmt: skip
        if until == "train":
            return ""
        samples = sample_epochs(base, lora, recipe.sampling, recipe.trigger, recipe.base.clip_skip, at)
        if until == "sample":
            return ""
        verdict = judge(samples, lora, *character, rules, tagger, recipe.judging, recipe.tagger.threshold, at)
        if until == "judge":
            return ""
        return publish(recipe, lora, samples, verdict, captioned, *character, at)


def tagged(folder: str, recipe: Recipe, tagger: CheckpointRef, at: At) -> Tagged:
    """A folder's screenshots made square, tagged, and passed by the content rule: before anything is trained."""
    pictures = preprocess(find_screenshots(folder, at), recipe.preprocess, at)
    tags = tag(pictures, tagger, at)
    check_content(pictures, tags, at)
    return Tagged(pictures, tags)


def merged_base(
    recipe: Recipe, base: CheckpointRef, style: DatasetRef, captioned: PrefectFuture[DatasetRef], at: At
) -> CheckpointRef:
    """Stages 1 and 2: the base with the 3D look in it. No character in here: the next one finds it all cached."""
    lora = train_style.submit(
        base, style, style_tokens(recipe), recipe.style_training, recipe.base.clip_skip, at
    )
    captioned.result()  # a refused caption ends the run now, not after an hour of training
    check_style(base, lora, style_tokens(recipe), recipe.sampling, recipe.base.clip_skip, at)
    merged = merge(base, lora, recipe.merge, at)
    check_merge(base, lora, merged, recipe.merge, recipe.sampling, recipe.base.clip_skip, at)
    return merged


def style_tokens(recipe: Recipe) -> str:
    """DreamBooth's identifier and class."""
    return f"{recipe.style.identifier} {recipe.style.class_word}"
