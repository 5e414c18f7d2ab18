"""Whether the schedules of the deployments that look after others do their work, and who hears of it when they don't.

Prefect's server makes scheduled runs a while ahead; a worker starts them. Either may end its part without a word, and
then no folder is looked at and no lost run is found. A schedule that a person paused is no fault.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events import emit_event

from flows.deploy import POOL

HOUSEKEEPING = "housekeeping"
"""Tag of the deployments that look after others, and of their runs."""
SILENT, RESUMED = "headcanon.schedule.silent", "headcanon.schedule.resumed"

_MISSED = 3  # as many intervals without a run are a fault
# Prefect's scheduler looks once a minute, a worker every few seconds, and a run takes a while to start.
_SLACK = timedelta(seconds=90)
# Of a schedule that is no interval (cron, a calendar's rule), as long as it has no runs to tell it from.
_USUAL = timedelta(hours=24)


class Silence(NamedTuple):
    """A schedule that should have had a run and had none.

    Attributes:
        deployment: its name.
        id: of the deployment.
        since: when there last was a run, or the watch began.
        scheduled: whether runs are made that nobody starts; else none is even made.
    """

    deployment: str
    id: UUID
    since: datetime
    scheduled: bool

    @property
    def message(self) -> str:
        """One line: what is missing, since when, and where to look."""
        since = self.since.astimezone().strftime("%d %b %H:%M")
        if self.scheduled:
            return (
                f"{self.deployment}: no scheduled run has started since {since}, though runs are due; is there a "
                "worker? What it said is in worker.log"
            )
        return (
            f"{self.deployment}: Prefect's scheduler has made no run since {since}, so that nothing starts by itself; "
            "what the server said is in server.log"
        )


def watched(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """The deployments that look after others and have a schedule that nobody paused."""
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[HOUSEKEEPING]))
    found = client.read_deployments(deployment_filter=tagged)
    return [one for one in found if not one.paused and any(schedule.active for schedule in one.schedules)]


def next_run(client: SyncPrefectClient, deployment: UUID) -> datetime | None:
    """When the next run that Prefect's scheduler made is due, if it made one."""
    due = [
        run.next_scheduled_start_time
        for run in _scheduled(client, deployment, FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC)
    ]
    now = datetime.now(UTC)
    return next((moment for moment in due if moment and moment > now), None)


def silences(
    client: SyncPrefectClient,
    deployments: Iterable[DeploymentResponse],
    since: Mapping[str, datetime],
    slack: timedelta = _SLACK,
) -> Iterator[Silence]:
    """Schedules that had no run for three intervals.

    Args:
        client: of the server.
        deployments: those that are watched.
        since: when the watch of each began, by name; what was before does not count.
        slack: what Prefect's scheduler, a worker and a run's start may take besides.
    """
    paused = client.read_work_pool(POOL).is_paused
    now = datetime.now(UTC)
    for deployment in deployments:
        ahead = _scheduled(client, deployment.id, FlowRunSort.EXPECTED_START_TIME_DESC)
        patience = _MISSED * _interval(deployment, ahead) + slack
        changed = (one.updated for one in deployment.schedules if one.updated)
        begun = max([since[deployment.name], *changed])  # a schedule that was resumed or changed begins anew
        made = max([begun, *(run.created for run in ahead if run.created)])
        if now - made > patience:
            yield Silence(deployment.name, deployment.id, made, scheduled=False)
            continue
        started = _started(client, deployment.id)
        if paused or any(run.state_type == StateType.RUNNING for run in started):
            continue
        last = max([begun, *(run.start_time for run in started if run.start_time)])
        if now - last > patience:
            yield Silence(deployment.name, deployment.id, last, scheduled=True)


def announce(client: SyncPrefectClient, silence: Silence) -> None:
    """Let a person in Prefect's UI see it: an event of the deployment, and an artifact under `schedules`."""
    _event(SILENT, silence.deployment, silence.id, silence.message)
    client.create_artifact(
        ArtifactCreate(
            key="schedules", type="markdown", description="A schedule is silent", data=f"⚠ {silence.message}"
        )
    )


def announce_resumed(client: SyncPrefectClient, silence: Silence) -> None:
    """Take it back when the schedule runs again."""
    message = f"{silence.deployment}: scheduled runs start again"
    _event(RESUMED, silence.deployment, silence.id, message)
    client.create_artifact(
        ArtifactCreate(key="schedules", type="markdown", description="Schedules run again", data=message)
    )


def _event(name: str, deployment: str, deployment_id: UUID, message: str) -> None:
    resource = {"prefect.resource.id": f"prefect.deployment.{deployment_id}", "prefect.resource.name": deployment}
    emit_event(name, resource=resource, payload={"message": message})


def _scheduled(client: SyncPrefectClient, deployment: UUID, sort: FlowRunSort) -> list[FlowRun]:
    """Runs that Prefect's scheduler made and nobody has started."""
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
    )
    return [run for run in client.read_flow_runs(flow_run_filter=wanted, sort=sort, limit=50) if run.auto_scheduled]


def _started(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        start_time=FlowRunFilterStartTime.model_validate({"before_": datetime.now(UTC)}),
    )
    found = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.START_TIME_DESC, limit=20)
    return [run for run in found if run.auto_scheduled]


def _interval(deployment: DeploymentResponse, ahead: list[FlowRun]) -> timedelta:
    """The longest time between two runs that a deployment's active schedules ask for."""
    active = [one.schedule for one in deployment.schedules if one.active]
    if all(isinstance(one, IntervalSchedule) for one in active):
        return min(one.interval for one in active if isinstance(one, IntervalSchedule))
    due = sorted(run.expected_start_time for run in ahead if run.expected_start_time)
    return max((later - sooner for sooner, later in pairwise(due)), default=_USUAL)
