"""The door between the short form and the full one: a preset, and the dozen options that matter over it."""

from flows.ending import form
from flows.main_options import MainOptions, sections_of
from flows.place import AllowedFolders
from flows.request import Name, recipe_of
from flows.train_character import train
from tasks.runtime import Step


@form("train-character-options")
def train_character_options(
    character: Name,
    folder: str = "",
    preset: str = "",
    base: str = "",
    options: MainOptions = MainOptions(),
    force: tuple[Step, ...] = (),
) -> str:
    """Screenshots in, character LoRA out, with the options that matter most. Empty ones are as the preset says.

    Args:
        character: Name of the LoRA, and of the folder in characters/ that holds its screenshots.
        folder: Screenshots that lie elsewhere. Empty: characters/ and the name.
        preset: What your characters share: a recipe in recipes/, or the family of your base. Empty: "default".
        base: Another base model than the recipe's. Empty: the recipe's.
        options: Over the preset, for this run.
        force: Steps to do again although they are finished.
    """
    said = sections_of(options.model_dump())
    return train(recipe_of(AllowedFolders(), character, folder, preset, base, options=said), force)
