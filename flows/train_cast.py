"""Many characters on one style: the style once, then a run for each character, spread over the pool's workers."""

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.urls import url_for

from flows.deploy import start_character
from flows.ending import form
from flows.graph import make_style
from flows.place import CHARACTERS, AllowedFolders
from flows.request import at_of, recipe_of, shared_recipe
from lora_core.captions import content
from lora_core.captions.content import words_of
from lora_core.errors import DatasetError
from lora_core.recipe import Recipe
from tasks.caption import find_rules
from tasks.runtime import Step, say


@form("train-cast")
def train_cast(preset: str = "default", characters: tuple[str, ...] = (), force: tuple[Step, ...] = ()) -> int:
    """Train the style once, then start a run for each character. It does not wait for them: a worker is theirs.

    Args:
        preset: A recipe in recipes/ with what the characters share; or a family of bases, such as illustrious.
        characters: Names of folders in characters/. Empty: all of them.
        force: Steps to do again although they are finished, in every run.
    """
    place = AllowedFolders()
    names = characters or cast(place)
    for name in names:
        _check(recipe_of(place, name, preset=preset))  # all mistakes at once, before any work
    recipe = shared_recipe(place, preset)
    at = at_of(recipe, force)
    make_style(recipe, at)
    with get_client(sync_client=True) as client:
        runs = {name: _start(client, name, preset, force) for name in names}
    create_markdown_artifact(key="cast", markdown=_overview(runs), description=f"The cast of {preset}")
    say(f"started {len(runs)} runs: {', '.join(runs)}")
    return len(runs)


# Done for all by this run; forced again in every run they would be done once for each.
_OF_STYLE: frozenset[Step] = frozenset(("train style", "check style", "merge", "check merge"))


def cast(place: AllowedFolders) -> tuple[str, ...]:
    """Every folder of characters/ that can be a character's, by name.

    Raises:
        DatasetError: there is none.
    """
    for odd in place.odd_folders:
        say(f"{odd.name}: left out; {odd.reason}", mark="!")
    found = tuple(path.name for path in place.characters)
    if not found:
        raise DatasetError(
            f"{place.folder / CHARACTERS}: holds no folder of a character; make one for each, with its screenshots"
        )
    return found


def _check(recipe: Recipe) -> None:
    """Refuse a character whose words the content rule refuses, before the style is trained for all."""
    content.check((), words_of(recipe, find_rules(recipe)))


def _start(client: SyncPrefectClient, name: str, preset: str, force: tuple[Step, ...]) -> FlowRun:
    # A retry of this run must start the characters again; their finished steps are found in the store.
    key = f"cast:{runtime.flow_run.id}:{runtime.flow_run.run_count}:{name}"
    own = tuple(step for step in force if step not in _OF_STYLE)
    parameters = {"character": name, "preset": preset, "force": list(own)}
    return start_character(client, parameters, key, f"cast:{runtime.flow_run.name}")


def _overview(runs: dict[str, FlowRun]) -> str:
    lines = [f"- {name}: [{run.name}]({url_for(run)})" for name, run in runs.items()]
    return "\n".join(("### One run for each character", "", *lines))
