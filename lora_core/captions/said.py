"""What a recipe says of its characters in words and names, for the content rule. Negative prompts are not among it."""

from lora_core.captions.content import Said, named
from lora_core.captions.rules import Rules
from lora_core.recipe import Recipe


def words_of(recipe: Recipe, rules: Rules) -> tuple[str | Said, ...]:
    """Names, triggers, class words, prompts and tags of a recipe and its caption rules."""
    names = (
        recipe.base.model, recipe.style.images, recipe.character.images, recipe.publish.version,
        recipe.publish.repository, *recipe.sampling.transfer,
    )  # fmt: skip
    said = recipe.name, recipe.trigger, _style(recipe), *recipe.sampling.prompts, *recipe.sampling.style_prompts
    return *said, *rules.words(), *(named(name) for name in names if name)


def style_words_of(recipe: Recipe) -> tuple[str | Said, ...]:
    """What goes into the style LoRA and the merged model, which many characters may share."""
    names = (named(name) for name in (recipe.base.model, recipe.style.images))
    return _style(recipe), *recipe.sampling.style_prompts, *names


def _style(recipe: Recipe) -> str:
    return f"{recipe.style.identifier} {recipe.style.class_word}"
