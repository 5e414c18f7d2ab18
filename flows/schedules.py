"""Whether the schedules of the deployments that look after others do their work, and who hears of it when they don't.

Prefect's server makes scheduled runs a while ahead; a worker starts them. Either may end its part without a word, and
then no folder is looked at and no lost run is found. A schedule that a person paused is no fault.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
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
from prefect.exceptions import PrefectException

from flows.place import CHARACTERS
from flows.wanted import POOL

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


_SCHEDULED_SECONDS = 120.0  # two minutes: its slower look is every minute
_LOOK_EVERY_SECONDS = 30.0
# The server may be started anew, or be busy: only a longer silence is told.
_AWAY = timedelta(minutes=15)
_INBOX = "watch-inbox"


class ScheduleWatch:
    """A look at the schedules now and then, in the background, until `ended` is set."""

    def __init__(
        self,
        settings: Callable[[], AbstractContextManager[object]],
        home: Path,
        ended: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        """Set up; nothing is looked at yet.

        Args:
            settings: Prefect's client settings for the length of a block.
            home: the folder that `headcanon up` was given.
            ended: says that it is time to end.
            tell: says one line to the person at the terminal.
        """
        self._settings, self._home, self._ended, self._tell = settings, home, ended, tell
        self._since: dict[str, datetime] = {}
        self._silent: dict[str, Silence] = {}
        self._answered, self._away = datetime.now(UTC), False
        self._told = False

    def start(self) -> None:
        """Begin; the thread ends with the process at the latest."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with self._settings():
            deadline = time.monotonic() + _SCHEDULED_SECONDS
            while not self._ended.wait(1.0) and not self._told:
                self._answering(lambda client: self._tell_when_scheduled(client, time.monotonic() > deadline))
            while not self._ended.wait(_LOOK_EVERY_SECONDS):
                self._answering(self._look)

    def _answering(self, what: Callable[[SyncPrefectClient], None]) -> None:
        """Ask the server; one that does not answer is told of when that lasts."""
        try:
            with get_client(sync_client=True) as client:
                what(client)
        except (httpx.HTTPError, PrefectException, OSError, ValueError):
            if not self._away and datetime.now(UTC) - self._answered > _AWAY:
                self._away = True
                self._tell(f"Prefect's server has not answered since {self._answered.astimezone():%H:%M}")
            return
        self._answered, self._away = datetime.now(UTC), False

    def _tell_when_scheduled(self, client: SyncPrefectClient, late: bool) -> None:
        """Say that all is ready when Prefect's scheduler has made a run of every schedule, or that it has not."""
        due = {one.name: next_run(client, one.id) for one in watched(client)}
        missing = ", ".join(name for name, moment in due.items() if not moment)
        if not missing:
            self._tell(self._ready(due.get(_INBOX)))
        elif late:
            self._tell(
                f"Not ready: Prefect's scheduler made no run of {missing} in two minutes; forms work, but nothing "
                "starts by itself; what the server said is in server.log"
            )
        self._told = late or not missing

    def _ready(self, due: datetime | None) -> str:
        folders = self._home / CHARACTERS
        if due is None:
            return f"Ready; {_INBOX} is paused, so that the folders in {folders} start no run by themselves"
        return f"Ready: the next look at the folders in {folders} is at {due.astimezone():%H:%M:%S}"

    def _look(self, client: SyncPrefectClient) -> None:
        deployments, now = watched(client), datetime.now(UTC)
        self._since = {one.name: self._since.get(one.name, now) for one in deployments}
        before = self._silent
        self._silent = {
            one.deployment: one
            for one in silences(client, deployments, self._since)
            if not self._are_made_again(one, before)
        }
        for name, silence in self._silent.items():
            if name not in before or before[name].scheduled != silence.scheduled:
                self._tell(silence.message)
                announce(client, silence)
        for name in (before.keys() - self._silent.keys()) & self._since.keys():  # one that was paused is not resumed
            self._tell(f"{name}: scheduled runs start again")
            announce_resumed(client, before[name])

    def _are_made_again(self, silence: Silence, before: Mapping[str, Silence]) -> bool:
        """Whether runs that were not even made have come back: they get their time to start."""
        again = silence.scheduled and silence.deployment in before and not before[silence.deployment].scheduled
        if again:
            self._since[silence.deployment] = datetime.now(UTC)
        return again
