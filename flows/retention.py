"""What Prefect forgets: hundreds of looks a day that found nothing would bury what a person looks for.

Finished runs of all other kinds, and events, are deleted by Prefect's server itself (`headcanon up` asks it to).
"""

import contextlib
import json
import os
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
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
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
_AT_ONCE = 50  # Prefect's own bound


def retention_settings() -> dict[str, str]:
    """Settings of a Prefect server that forgets: its own defaults, 90 days for runs and 7 for events; a user's win."""
    wanted = {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "true",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": json.dumps(dict.fromkeys(_NOISE, 86_400)),
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


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
