"""Stages 1 and 2 on their own. They hold no character: every later one finds them finished."""

from prefect import flow

from flows.ending import end_as_asked
from flows.errors import report_user_errors
from flows.graph import make_style
from flows.place import AllowedFolders
from flows.request import at_of, shared_recipe
from flows.run_names import RUN_NAMES
from tasks.runtime import Step


@flow(name="prepare-style", flow_run_name=RUN_NAMES["prepare-style"], persist_result=False, validate_parameters=False)
@report_user_errors
@end_as_asked
def prepare_style(preset: str = "default", force: tuple[Step, ...] = ()) -> None:
    """The style LoRA and the base model with it, for all characters of a preset.

    Args:
        preset: A recipe in recipes/ that names the base model and the style screenshots; or a family of bases.
        force: Steps to do again although they are finished.
    """
    recipe = shared_recipe(AllowedFolders(), preset)
    at = at_of(recipe, force)
    make_style(recipe, at)
