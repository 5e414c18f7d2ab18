"""What Prefect forgets: hundreds of looks a day that found nothing would bury what a person looks for.

Finished runs of all other kinds, and events, are deleted by Prefect's server itself (`headcanon up` asks it to).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound

from flows.schedules import HOUSEKEEPING

_ENDED = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
# A backlog of weeks is worked off in several looks, so that none of them takes long.
_MOST = 1000


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


def _old(client: SyncPrefectClient, before: datetime) -> Iterator[FlowRun]:
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[HOUSEKEEPING]))
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_ENDED)),
        end_time=FlowRunFilterEndTime.model_validate({"before_": before}),
    )
    for _ in range(0, _MOST, 200):
        page = client.read_flow_runs(flow_run_filter=wanted, deployment_filter=tagged, limit=200)
        yield from page
        if len(page) < 200:
            return
