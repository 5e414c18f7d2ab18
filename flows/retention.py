"""What Prefect forgets: hundreds of looks a day that found nothing would bury what a person looks for.

Finished runs of all other kinds, and events, are deleted by Prefect's server itself (`headcanon up` asks it to).
"""

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound

from flows.schedules import HOUSEKEEPING

_TAGGED = DeploymentFilter(tags=DeploymentFilterTags(all_=[HOUSEKEEPING]))
_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
# Most of all events, and of use to nobody after a day: the states that follow them stay.
_NOISE = (
    "prefect.flow-run.heartbeat",
    "prefect.flow-run.Pending",
    "prefect.flow-run.Submitting",
    "prefect.task-run.Pending",
    "prefect.task-run.Running",
    "prefect.worker.submitted-flow-run",
    "prefect.worker.executed-flow-run",
)
# A backlog of weeks is worked off in several looks, so that none of them takes long.
_MOST = 1000


def retention_settings() -> dict[str, str]:
    """Settings of a Prefect server that forgets: its own defaults, 90 days for runs and 7 for events; a user's win."""
    wanted = {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "true",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": json.dumps(dict.fromkeys(_NOISE, 86_400)),
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def forget_old_runs(client: SyncPrefectClient, keep: timedelta) -> int:
    """Delete runs of watch-inbox and janitor that ended longer ago, with their logs; returns how many."""
    forgotten = 0
    for run in _old(client, datetime.now(UTC) - keep):
        try:
            client.delete_flow_run(run.id)
        except ObjectNotFound:  # another worker's janitor was there first
            continue
        forgotten += 1
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


def _old(client: SyncPrefectClient, before: datetime) -> Iterator[FlowRun]:
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ENDED)),
        end_time=FlowRunFilterEndTime.model_validate({"before_": before}),
    )
    for _ in range(0, _MOST, 200):
        page = client.read_flow_runs(flow_run_filter=wanted, deployment_filter=_TAGGED, limit=200)
        yield from page
        if len(page) < 200:
            return
