"""The everyday front door in Prefect's UI: a short form for one character."""

from itertools import count
from typing import Annotated

from pydantic import Field

from flows.ending import form
from flows.graph import make_lora
from flows.notify import published, started
from flows.place import AllowedFolders
from flows.request import Name, at_of, recipe_of
from lora_core.errors import OutputExistsError
from lora_core.recipe import Recipe
from tasks.caption import find_rules
from tasks.find import find_base, find_sets, find_start, find_tagger
from tasks.publish import check_name
from tasks.runtime import RunContext, Step
from tasks.steps import Until

Epoch = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0, le=4)]


@form("train-character")
def train_character(
    character: Name,
    folder: str = "",
    preset: str = "",
    base: str = "",
    force: tuple[Step, ...] = (),
    epoch: Epoch = 0,
    weight: Weight = 0,
) -> str:
    """Screenshots in, character LoRA out. Finished steps are cached, so that a retry resumes.

    Args:
        character: Name of the LoRA, and of the folder in characters/ that holds its screenshots.
        folder: Screenshots that lie elsewhere. Empty: characters/ and the name.
        preset: A recipe in recipes/ with what your characters share. Empty: "default". Or the family of your base,
            whose numbers then stand for those that "default" leaves out.
        base: Another base model than the recipe's. Empty: the recipe's.
        force: Steps to do again although they are finished.
        epoch: Publish this epoch, whatever the metrics are. 0: by the rule.
        weight: Publish it at this one of the sampled weights. 0: by the rule.
    """
    recipe = recipe_of(AllowedFolders(), character, folder, preset, base)
    return train(chosen_by_hand(recipe, epoch, weight), force)


def train(recipe: Recipe, force: tuple[Step, ...], until: Until = "publish") -> str:
    """The whole method under a free name; returns the folder of what is published, empty: it ended before that."""
    started()
    at = at_of(recipe, force)
    out = make_lora.fn(with_free_version(recipe, at), at, until).folder
    if out:
        published(recipe.name, out)
    return out


def chosen_by_hand(recipe: Recipe, epoch: int, weight: float) -> Recipe:
    """The recipe with a person's choice, which is published even if it is no better than the version before."""
    if not (epoch or weight):
        return recipe
    judging = recipe.judging.model_copy(update={"epoch": epoch, "weight": weight})
    return recipe.model_copy(update={"judging": judging, "gates": recipe.gates.model_copy(update={"successor": "off"})})


def with_free_version(recipe: Recipe, at: RunContext) -> Recipe:
    """The recipe with the first version whose name is free, or was made from these very inputs.

    A version that the recipe itself names is kept, and refused by the run if it is taken.
    """
    if recipe.publish.version:
        return recipe
    rules = find_rules(recipe)
    base = find_base(recipe.base, at)
    found = (
        base,
        find_tagger(recipe.tagger, at),
        *(shots for shots in find_sets(recipe, at) if shots),
    )
    for number in count(1):
        version = f"v{number}" if number > 1 else ""
        named = recipe.model_copy(update={"publish": recipe.publish.model_copy(update={"version": version})})
        start = find_start(named, base, at)
        try:
            check_name(named, rules, (*found, start) if start else found)
        except OutputExistsError:
            continue
        return named
    raise AssertionError("unreachable: count() does not end")
