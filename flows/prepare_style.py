"""Stages 1 and 2 on their own. They hold no character: every later one finds them finished."""

from prefect import flow

from flows.ending import end_as_asked
from flows.errors import recompute_damaged, report_user_errors
from flows.make_lora import style_tokens, styled_base, tagged, with_words
from flows.place import AllowedFolders
from flows.request import at_of, shared_recipe
from lora_core.captions.content import style_words_of
from lora_core.recipe import Recipe
from tasks.caption import check_content, refuse_at_once
from tasks.compositions import settle_style
from tasks.find import find_base, find_screenshots, find_tagger
from tasks.preprocess import preprocess
from tasks.runtime import At, Step
from tasks.stopping import stopping_all_when_one_fails
from tasks.train import train_style


@flow(name="prepare-style", flow_run_name="style {preset}", persist_result=False, validate_parameters=False)
@report_user_errors
@end_as_asked
def prepare_style(preset: str = "default", force: tuple[Step, ...] = ()) -> None:
    """The style LoRA and the base model with it, for all characters of a preset.

    Args:
        preset: A recipe in recipes/ that names the base model and the style screenshots.
        force: Steps to do again although they are finished.
    """
    recipe = shared_recipe(AllowedFolders(), preset)
    at = at_of(recipe, force)
    style_of(recipe, at)


@recompute_damaged
def style_of(recipe: Recipe, at: At) -> None:
    """The style branch of the graph, step for step as `make_lora` has it."""
    if not recipe.trains_style:
        return
    with stopping_all_when_one_fails():
        base, tagger = find_base(recipe.base, at), find_tagger(recipe.tagger, at)
        refuse_at_once(style_words_of(recipe), base, tagger, recipe.tagger.model, at)
        squares = preprocess(find_screenshots(recipe.style.images, at), recipe.preprocess, at)
        look = tagged(squares, tagger, at)
        check_content((look.pictures,), (look.tags,), style_words_of(recipe), base, at)
        settle_style(squares, look.tags, at)
        look = with_words(look, squares, recipe, at)
        lora = train_style(base, look.pictures, style_tokens(recipe), recipe.style_training, *recipe.base.reading, at)
        styled_base(recipe, base, lora, look, at)
