"""What a Prefect server is doing, and how far each character of a home is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from flows.graph import peek
from flows.inbox import MEMORY, refusals
from flows.place import AllowedFolders
from flows.request import at_of, recipe_of
from flows.runs import OPEN, Run, in_order, latest
from flows.schedules import silences, watched
from flows.wanted import POOL
from lora_core.errors import UserError

_ENDED = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


class Progress(NamedTuple):
    """How far a character is."""

    character: str
    finished: int
    steps: int
    next_step: str


def workers(client: SyncPrefectClient) -> list[str]:
    """Names of the workers that are there."""
    try:
        found = client.read_workers_for_work_pool(POOL)
    except ObjectNotFound:
        return []
    return [worker.name for worker in found if worker.status == "ONLINE"]


def silent_schedules(client: SyncPrefectClient) -> list[str]:
    """A line for each schedule that should have had runs since the workers are there, and had none."""
    try:
        there = [
            one.created for one in client.read_workers_for_work_pool(POOL) if one.status == "ONLINE" and one.created
        ]
    except ObjectNotFound:
        return []
    if not there:
        return []  # `workers` says so
    found = watched(client)
    return [silence.message for silence in silences(client, found, {one.name: min(there) for one in found})]


def runs(client: SyncPrefectClient) -> dict[str, list[Run]]:
    """By heading: runs at work, of which those that were told to end are until all is saved; waiting; the last ended.

    One that waits for a later hour is left out.
    """
    found, soon = latest(client, OPEN, 100), datetime.now(UTC) + timedelta(minutes=1)
    waiting = [run for run in in_order(found) if not run.works and (run.kind == "PAUSED" or run.due < soon)]
    return {"Running": [run for run in found if run.works], "Waiting": waiting, "Ended": latest(client, _ENDED, 10)}


def characters(place: AllowedFolders) -> Iterator[Progress | str]:
    """How far each character of a home is; a line of text for what cannot be used, or started by itself."""
    yield from (f"{odd.name}: {odd.reason}" for odd in place.odd_folders)
    refused = refusals(place.folder / ".headcanon" / MEMORY)
    for folder in place.characters:
        try:
            yield _progress(place, folder)
        except (OSError, UserError) as error:
            yield f"{folder.name}: {' '.join(str(error).split())}"
        if folder.name in refused:
            yield f"{folder.name}: starts no run by itself: {refused[folder.name]}"


def _progress(place: AllowedFolders, folder: Path) -> Progress:
    recipe = recipe_of(place, folder.name)
    steps = peek(recipe, at_of(recipe)).steps
    missing = [each.step for each in steps if each.ref is None]
    return Progress(folder.name, len(steps) - len(missing), len(steps), missing[0] if missing else "")
