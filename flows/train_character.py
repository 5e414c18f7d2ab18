"""The everyday front door in Prefect's UI: a short form for one character."""

from pathlib import Path

from prefect import flow

from flows.make_lora import make_lora
from lora_core.recipe_file import read_recipe
from tasks.runtime import At, Step


@flow(name="train-character")
def train_character(recipe: str, force: list[Step] | None = None) -> str:
    """Make a character's LoRA from its recipe. What is finished is found in the store, so a retry goes on.

    Args:
        recipe: Path of a recipe.toml on the worker's machine.
        force: Steps to do again although they are cached.
    """
    options = read_recipe(Path(recipe))
    at = At(store=options.runtime.store, device=options.runtime.device, force=tuple(force or ()))
    return make_lora.with_options(result_storage=at.open_store().results, persist_result=False)(options, at)
