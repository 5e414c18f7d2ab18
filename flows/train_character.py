"""The everyday front door in Prefect's UI: a short form for one character."""

from prefect import flow

from flows.edge import telling_user_errors
from flows.ending import ending_as_asked
from flows.graph import make_lora
from flows.notify import published
from flows.place import Place
from flows.request import Name, at_of, recipe_of
from flows.versions import with_free_version
from tasks.runtime import Step


@flow(name="train-character", flow_run_name="{character}", persist_result=False, validate_parameters=False)
@telling_user_errors
@ending_as_asked
def train_character(
    character: Name, folder: str = "", preset: str = "", base: str = "", force: tuple[Step, ...] = ()
) -> str:
    """Screenshots in, character LoRA out. What is finished is found in the store, so a retry goes on where it was.

    Args:
        character: Name of the LoRA, and of the folder in characters/ that holds its screenshots.
        folder: Screenshots that lie elsewhere. Empty: characters/ and the name.
        preset: A recipe in recipes/ with what your characters share. Empty: "default".
        base: Another base model than the recipe's. Empty: the recipe's.
        force: Steps to do again although they are finished.
    """
    recipe = recipe_of(Place(), character, folder, preset, base)
    at = at_of(recipe, force)
    out = make_lora.fn(with_free_version(recipe, at), at).folder
    published(recipe.name, out)
    return out
