"""Runs whose worker is gone stay Running for ever in Prefect, and cannot be retried. This sets them to Crashed.

Prefect notices the end of a run's process as long as its worker lives. When both end at once (a power cut, `docker
stop`), nobody does. A run says that it lives by an event every 30 seconds; one that has been silent for three of them
is lost, unless a second look half as much later hears of it: while the server was away, everybody was silent. A
suspended run has no process and is meant to be silent: its state is Paused, and it is never looked at.
"""

import contextlib
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.filters import EventFilter, EventOccurredFilter, EventOrder, EventResourceFilter
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Crashed
from pydantic import Field

from flows.errors import report_user_errors
from flows.schedules import HOUSEKEEPING
from flows.wanted import HEARTBEAT_SECONDS
from tasks.runtime import say

OURS = (
    "headcanon", "train-character", "train-character-options", "train-character-full", "prepare-style", "train-cast",
    "draw-more", "watch-inbox", "janitor",
)  # fmt: skip

_ALIVE = [StateType.RUNNING, StateType.CANCELLING, StateType.PENDING]
# A run that a worker has taken but not begun sends nothing: an image may have to be pulled first.
_PENDING_SECONDS = 900.0

Patience = Annotated[int, Field(ge=3 * HEARTBEAT_SECONDS, le=86_400)]
Tries = Annotated[int, Field(ge=0, le=100)]
Days = Annotated[float, Field(ge=0.05, le=3650)]


@flow(name="janitor", persist_result=False, validate_parameters=False)
@report_user_errors
def janitor(silent_seconds: Patience = 3 * HEARTBEAT_SECONDS, retries: Tries = 0, keep_days: Days = 1) -> int:
    """Set runs that lost their worker to Crashed; returns how many. And delete old runs of watch-inbox and its own.

    Args:
        silent_seconds: A run that gave no sign of life for so long is lost. At least three times 30 seconds.
        retries: Start such a run again, at most so many times. 0: only mark it; Retry in the UI resumes it.
        keep_days: Runs of watch-inbox and janitor are deleted when they ended so many days ago.
    """
    with get_client(sync_client=True) as client:
        lost = _lost(client, silent_seconds)
        if lost:
            time.sleep(silent_seconds / 2)
            lost = {run: lost[run] for run in _lost(client, silent_seconds).keys() & lost.keys()}
        for run in lost.values():
            say(f"{run.name}: silent for more than {silent_seconds} s; its worker is gone", mark="!")
            set_crashed(client, run, f"No sign of life for {silent_seconds} s: its worker is gone. Retry resumes.")
            if may_retry(run, retries):
                client.set_flow_run_state(run.id, AwaitingRetry(message="Started again by the janitor"), force=True)
                say(f"{run.name}: started again")
        if forgotten := forget_old_runs(client, timedelta(days=keep_days)):
            say(f"{forgotten} runs of watch-inbox and janitor deleted, ended more than {keep_days:g} days ago")
        return len(lost)


def _lost(client: SyncPrefectClient, silent_seconds: float) -> dict[UUID, FlowRun]:
    now = datetime.now(UTC)
    return {run.id: run for run in alive(client) if is_lost(run, last_sign(client, run), now, silent_seconds)}


def is_lost(run: FlowRun, sign: datetime | None, at: datetime, silent_seconds: float) -> bool:
    """Whether a run that should live has been silent for too long, counted from its start if there was no sign at all.

    Args:
        run: in a state of a living run.
        sign: of the last event about it.
        at: the present.
        silent_seconds: how much silence is too much.
    """
    known = [moment for moment in (sign, run.start_time, run.state.timestamp if run.state else None) if moment]
    if run.state_type == StateType.PENDING:
        silent_seconds = max(silent_seconds, _PENDING_SECONDS)
    return bool(known) and at - max(known) > timedelta(seconds=silent_seconds)


def may_retry(run: FlowRun, retries: int) -> bool:
    """Whether a lost run is started again: only from a deployment can it be, and not for ever."""
    return run.deployment_id is not None and run.run_count <= retries


def alive(client: SyncPrefectClient) -> Iterator[FlowRun]:
    """Runs of our flows that should have a process: Running, Cancelling, or taken by a worker."""
    states = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ALIVE)))
    flows = FlowFilter(name=FlowFilterName(any_=list(OURS)))
    found = 0
    while page := client.read_flow_runs(flow_filter=flows, flow_run_filter=states, limit=200, offset=found):
        yield from page
        found += len(page)


def last_sign(client: SyncPrefectClient, run: FlowRun) -> datetime | None:
    """When the last event about a run happened: a heartbeat, or a change of its state."""
    since = run.start_time or run.created
    if since is None:
        return None
    page = client.read_events(
        EventFilter(
            occurred=EventOccurredFilter(since=since),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
            order=EventOrder.DESC,
        ),
        limit=1,
    )
    return page.events[0].occurred if page.events else None


def set_crashed(client: SyncPrefectClient, run: FlowRun, why: str) -> None:
    """The run, and those of its steps that still count as running."""
    client.set_flow_run_state(run.id, Crashed(message=why), force=True)
    for step in _running_steps(client, run.id):
        client.set_task_run_state(step, Crashed(message=why), force=True)


def _running_steps(client: SyncPrefectClient, run: UUID) -> Iterable[UUID]:
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    states = TaskRunFilter(
        state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    )
    return [one.id for one in client.read_task_runs(flow_run_filter=of_run, task_run_filter=states, limit=200)]


_TAGGED = DeploymentFilter(tags=DeploymentFilterTags(all_=[HOUSEKEEPING]))
_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
# A backlog of weeks is worked off in several looks, so that none of them takes long.
_MOST = 1000
_AT_ONCE = 50  # Prefect's own bound


def forget_old_runs(client: SyncPrefectClient, keep: timedelta) -> int:
    """Delete runs of watch-inbox and janitor that ended longer ago, with their logs; returns how many."""
    old = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[HOUSEKEEPING]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ENDED)),
        end_time=FlowRunFilterEndTime.model_validate({"before_": datetime.now(UTC) - keep}),
    )
    wanted = {"flow_runs": old.model_dump(mode="json", exclude_unset=True), "limit": _AT_ONCE}
    forgotten = 0
    for _ in range(0, _MOST, _AT_ONCE):
        answer = client.request("POST", "/flow_runs/bulk_delete", json=wanted)  # type: ignore[arg-type]  # not in its list
        deleted = len(answer.raise_for_status().json()["deleted"])
        forgotten += deleted
        if deleted < _AT_ONCE:
            break
    return forgotten


def forget_planned_runs(client: SyncPrefectClient, before: datetime | None) -> None:
    """Delete runs that Prefect's scheduler made and nobody started.

    Args:
        client: of the server.
        before: those that were due before; None: all of them.
    """
    due = FlowRunFilterNextScheduledStartTime.model_validate({"before_": before}) if before else None
    planned = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])), next_scheduled_start_time=due
    )
    while page := client.read_flow_runs(flow_run_filter=planned, deployment_filter=_TAGGED, limit=200):
        made = [run for run in page if run.auto_scheduled]
        for run in made:
            with contextlib.suppress(ObjectNotFound):
                client.delete_flow_run(run.id)
        if not made:
            return
