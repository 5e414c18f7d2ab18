"""Stages 1 and 2 on their own. They hold no character: every later one finds them finished."""

from flows.ending import form
from flows.graph import make_style
from flows.place import AllowedFolders
from flows.request import at_of, shared_recipe
from tasks.runtime import Step, say


@form("prepare-style")
def prepare_style(preset: str = "default", force: tuple[Step, ...] = ()) -> None:
    """The style LoRA and the base model with it, for all characters of a preset.

    Args:
        preset: A recipe in recipes/ that names the base model and the style screenshots; or a family of bases.
        force: Steps to do again although they are finished.
    """
    recipe = shared_recipe(AllowedFolders(), preset)
    at = at_of(recipe, force)
    if make_style(recipe, at) is None:
        why = "the preset trains none" if recipe.is_decided else "with method auto a character's own run decides that"
        say(f"no style LoRA was prepared: {why}")
