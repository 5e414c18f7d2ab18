"""What a flow run is at, beyond what Prefect calls its state."""

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType

from tasks.stopping import SAVES_SECONDS

OPEN = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
"""Of a run that has not ended for good."""
_OF_ONE = ("train-character", "train-character-full")


def open_run(client: SyncPrefectClient, character: str) -> FlowRun | None:
    """The run of a character that runs, waits, or may be resumed, whoever began it."""
    found = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(_OF_ONE))),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(OPEN)))),
        limit=200,
    )
    return next((run for run in found if character_of(run) == character), None)


def character_of(run: FlowRun) -> str:
    """Whom a run of `train-character` or its full form is for."""
    return str(run.parameters.get("character") if "name" not in run.parameters else run.parameters["name"])


def running_steps(client: SyncPrefectClient, run: FlowRun) -> list[str]:
    """Names of the steps that a run is at."""
    active = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING])))
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    return [step.name for step in client.read_task_runs(flow_run_filter=of_run, task_run_filter=active, limit=20)]


def is_saving(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether a suspended run's process is still there: Prefect calls it Suspended at once."""
    if run.state_type != StateType.PAUSED or run.state is None:
        return False
    since = run.state.timestamp
    return since > datetime.now(UTC) - timedelta(seconds=SAVES_SECONDS) and bool(running_steps(client, run))


def waits_for(run: FlowRun) -> str:
    """What a run that does not run waits for, in a line."""
    if run.state is None or run.state.message:
        return run.state.message or "" if run.state else ""
    asks = run.state.state_details.run_input_keyset
    return "" if run.state_type != StateType.PAUSED or asks else "paused by hand; Resume goes on"
