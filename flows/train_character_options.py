"""The door between the short form and the full one: a preset, and the dozen options that matter over it."""

from flows.ending import form
from flows.main_options import MainOptions
from flows.place import AllowedFolders
from flows.request import Name, recipe_of_run
from flows.train_character import Epoch, Weight, chosen_by_hand, train
from tasks.runtime import Step


@form("train-character-options")
def train_character_options(
    character: Name,
    folder: str = "",
    preset: str = "",
    base: str = "",
    options: MainOptions = MainOptions(),
    force: tuple[Step, ...] = (),
    epoch: Epoch = 0,
    weight: Weight = 0,
) -> str:
    """Screenshots in, character LoRA out, with the options that matter most. Empty ones are as the preset says.

    Args:
        character: Name of the LoRA, and of the folder in characters/ that holds its screenshots.
        folder: Screenshots that lie elsewhere. Empty: characters/ and the name.
        preset: What your characters share: a recipe in recipes/, or the family of your base. Empty: "default".
        base: Another base model than the recipe's. Empty: the recipe's.
        options: Over the preset, for this run.
        force: Steps to do again although they are finished.
        epoch: Publish this epoch, whatever the metrics are. 0: by the rule.
        weight: Publish it at this one of the sampled weights. 0: by the rule.
    """
    recipe = recipe_of_run(AllowedFolders(), {**locals(), "options": options.model_dump()})
    return train(chosen_by_hand(recipe, epoch, weight), force)
