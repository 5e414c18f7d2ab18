"""Runs that nobody watches name their output themselves: NAME, then NAME-v2, NAME-v3; nothing is ever overwritten."""

from itertools import count

from lora_core.errors import OutputExistsError
from lora_core.recipe import Recipe
from tasks.caption import find_rules
from tasks.find import find_base, find_sets, find_tagger
from tasks.publish import check_name
from tasks.runtime import At


def with_free_version(recipe: Recipe, at: At) -> Recipe:
    """The recipe with the first version whose name is free, or was made from these very inputs.

    A version that the recipe itself names is kept, and refused by the run if it is taken.
    """
    if recipe.publish.version:
        return recipe
    rules = find_rules.fn(recipe.captions, recipe.trigger)
    found = (
        find_base.fn(recipe.base, at),
        find_tagger.fn(recipe.tagger, at),
        *(shots for shots in find_sets(recipe, at) if shots),
    )
    for number in count(1):
        version = f"v{number}" if number > 1 else ""
        named = recipe.model_copy(update={"publish": recipe.publish.model_copy(update={"version": version})})
        try:
            check_name.fn(named, rules, found)
        except OutputExistsError:
            continue
        return named
    raise AssertionError("unreachable: count() does not end")
