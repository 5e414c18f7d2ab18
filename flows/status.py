"""What a Prefect server is doing, and how far each character of a home is."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from flows.graph import peek
from flows.inbox import MEMORY, refusals
from flows.janitor import OURS
from flows.place import AllowedFolders
from flows.request import at_of, recipe_of
from flows.run_states import is_saving, running_steps, waits_for
from flows.schedules import silences, watched
from flows.wanted import POOL
from lora_core.errors import UserError

_HOUSEKEEPING = ("watch-inbox", "janitor")
_WORKING = (StateType.RUNNING, StateType.CANCELLING)
_WAITING = (StateType.SCHEDULED, StateType.PENDING, StateType.PAUSED)
_ENDED = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


_DOING = {StateType.PAUSED: "pausing: saving ", StateType.CANCELLING: "cancelling: saving "}


class Run(NamedTuple):
    """One line about a run."""

    name: str
    state: str
    since: datetime | None
    doing: str


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


def running(client: SyncPrefectClient) -> list[Run]:
    """Runs that are worked on, each with its steps; those that were told to end are until all is saved."""
    found = []
    for run in _runs(client, (*_WORKING, StateType.PAUSED), limit=50):
        if run.state_type != StateType.PAUSED or is_saving(client, run):
            doing = _DOING.get(run.state_type, "") if run.state_type else ""
            found.append(_line(run, doing + ", ".join(running_steps(client, run))))
    return found


def waiting(client: SyncPrefectClient) -> list[Run]:
    """Runs that wait for a worker, for their time, or for a person."""
    soon = datetime.now(UTC) + timedelta(minutes=1)
    found = [run for run in _runs(client, _WAITING, limit=50, before=soon) if not is_saving(client, run)]
    return [_line(run, waits_for(run)) for run in found]


def ended(client: SyncPrefectClient, limit: int = 10) -> list[Run]:
    """The last runs that ended."""
    return [
        _line(run, run.state.message or "" if run.state else "")
        for run in _runs(client, _ENDED, limit=limit, newest=True)
    ]


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


def _runs(
    client: SyncPrefectClient,
    states: Sequence[StateType],
    *,
    limit: int,
    before: datetime | None = None,
    newest: bool = False,
) -> list[FlowRun]:
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": before}) if before else None,
    )
    flows = FlowFilter(name=FlowFilterName(any_=[name for name in OURS if name not in _HOUSEKEEPING]))
    sort = FlowRunSort.END_TIME_DESC if newest else FlowRunSort.EXPECTED_START_TIME_ASC
    return client.read_flow_runs(flow_filter=flows, flow_run_filter=wanted, limit=limit, sort=sort)


def _line(run: FlowRun, doing: str) -> Run:
    return Run(run.name, run.state_name or "", run.end_time or run.start_time or run.expected_start_time, doing)
