"""Flow runs as people see them: what each is at, and for how long; which waits for what; what may be done with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
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
from prefect.client.schemas.objects import Artifact, FlowRun, State, StateDetails, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Cancelling

from lora_core.errors import UserError
from lora_core.printable import duration, one_line
from tasks.stopping import SAVES_SECONDS

OPEN = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
"""Of a run that has not ended for good."""
TRAINING = ("train-character", "train-character-options", "train-character-full")
FLOWS = ("headcanon", *TRAINING, "prepare-style", "train-cast", "draw-more")
"""Those that people start."""
_WAITS = {StateType.SCHEDULED: "Waiting", StateType.PENDING: "Starting"}
"""In a person's words, for Prefect's Scheduled, Late, AwaitingRetry …"""
_PAUSED_DAYS = 365
_APART = timedelta(milliseconds=1)


class RunError(UserError):
    """What was asked of a run cannot be."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        id: Prefect's.
        name: likewise.
        character: whom it trains; empty: nobody alone.
        flow: name of its flow.
        state: what it is at, in a word.
        kind: the same as Prefect has it.
        doing: a line about it.
        share: of the step that it is at, in percent.
        since: when it came to that.
        due: when a waiting one is to start; runs that are due start in this order.
        parameters: as it was started with.
    """

    id: str
    name: str
    character: str
    flow: str
    state: str
    kind: str
    doing: str
    share: float
    since: datetime | None
    due: datetime
    parameters: dict[str, Any]

    @property
    def is_open(self) -> bool:
        """Whether it runs, waits, or may be resumed."""
        return self.kind in {kind.value for kind in OPEN}

    @property
    def works(self) -> bool:
        """Whether a process is at it."""
        return self.kind in ("RUNNING", "CANCELLING") or self.state == "Pausing"


def latest(client: SyncPrefectClient, states: Sequence[StateType] = (), limit: int = 200) -> list[Run]:
    """Runs that people started, the newest first; in these states, or in any."""
    flows = FlowFilter(name=FlowFilterName(any_=list(FLOWS)))
    found = client.read_flow_runs(
        flow_filter=flows, flow_run_filter=_in(states) if states else None, limit=limit,
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
    )  # fmt: skip
    names = {flow.id: flow.name for flow in client.read_flows(flow_filter=flows)}
    running = [run.id for run in found if run.state_type == StateType.RUNNING]
    bars = progress(client, running) if running else []
    return [described(client, run, names[run.flow_id], bars) for run in found]


def in_order(found: Sequence[Run]) -> list[Run]:
    """Open runs: at work, then those that wait for a worker in the order in which it gets them, then those held."""
    rank = {"SCHEDULED": 1, "PAUSED": 2}
    return sorted(
        (run for run in found if run.is_open), key=lambda run: (0 if run.works else rank.get(run.kind, 0), run.due)
    )


def described(client: SyncPrefectClient, run: FlowRun, flow: str, bars: Sequence[Artifact]) -> Run:
    """A run in words.

    Args:
        client: asks its server.
        run: as that has it.
        flow: name of its flow.
        bars: progress artifacts, of it and of others.
    """
    state, kind, share = run.state_name or "", run.state_type, 0.0
    doing = one_line((run.state.message if run.state else None) or "")
    if kind == StateType.PAUSED:
        saving = is_saving(client, run)
        state = "Pausing" if saving else "Question" if asks(run) else "Paused"
        doing = f"saving {', '.join(running_steps(client, run))}" if saving else waits_for(run)
    elif kind == StateType.CANCELLING:
        doing = f"saving {', '.join(running_steps(client, run))}"
    elif kind in _WAITS:
        state = _WAITS[kind]
    elif kind == StateType.RUNNING:
        mine = [one for one in bars if one.flow_run_id == run.id and share_of(one) < 100]
        doing, share = (_now(mine[-1]), share_of(mine[-1])) if mine else (", ".join(running_steps(client, run)), 0.0)
    since = run.end_time or run.start_time or run.expected_start_time
    due = run.next_scheduled_start_time or since or datetime.now(UTC)
    character = character_of(run.parameters) if flow in TRAINING else ""
    return Run(
        str(run.id), run.name, character, flow, state, kind.value if kind else "", doing, share, since, due,
        run.parameters,
    )  # fmt: skip


def progress(client: SyncPrefectClient, runs: list[UUID]) -> list[Artifact]:
    """Progress artifacts of runs, those that were brought up to date last at the end."""
    of_runs = ArtifactFilterFlowRunId(any_=list(runs))
    wanted = ArtifactFilter(flow_run_id=of_runs, type=ArtifactFilterType(any_=["progress"]))
    return sorted(client.read_artifacts(artifact_filter=wanted), key=lambda one: one.updated or datetime.now(UTC))


def share_of(bar: Artifact) -> float:
    """Of the step that is done, in percent."""
    return float(bar.data) if isinstance(bar.data, int | float) else 0.0


def counted(bar: Artifact) -> tuple[str, str]:
    """How far a step is, and how long it takes on."""
    told = {"done": "0", "total": "0", "seconds_left": "0", **(bar.metadata_ or {})}
    done, total = int(told["done"]), int(told["total"])
    left = f"{duration(float(told['seconds_left']))} left" if 0 < done < total else ""
    return f"{done:,} of {total:,}" if total else "starting", left


def _now(bar: Artifact) -> str:
    """What a run is at: "train character 812 of 3,800, about 40 min to the run's end"."""
    told, (done, left) = {"step": "", "run_left": "", **(bar.metadata_ or {})}, counted(bar)
    return ", ".join(filter(None, (f"{told['step']} {done}", told["run_left"] or left)))


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
    if run.state and run.state.message:
        return run.state.message
    if asks(run):
        return "waits for your answer"
    return "paused by hand; Resume goes on" if run.state_type == StateType.PAUSED else ""


def asks(run: FlowRun) -> bool:
    """Whether a run waits for a form to be filled in."""
    return run.state_type == StateType.PAUSED and bool(run.state and run.state.state_details.run_input_keyset)


def character_of(parameters: Mapping[str, Any]) -> str:
    """Whom a run of one of `TRAINING` is for."""
    return str(parameters.get("name") or parameters.get("character"))


def open_run(client: SyncPrefectClient, character: str) -> FlowRun | None:
    """The run of a character that runs, waits, or may be resumed, whoever began it."""
    return next(_training(client, character, OPEN), None)


def has_read(client: SyncPrefectClient, character: str, since: float) -> bool:
    """Whether a run that is completed began to read the character's folder after that time, in seconds of the epoch."""
    completed = _training(client, character, (StateType.COMPLETED,))
    return any(run.start_time and run.start_time.timestamp() > since for run in completed)


def _training(client: SyncPrefectClient, character: str, states: Sequence[StateType]) -> Iterator[FlowRun]:
    flows = FlowFilter(name=FlowFilterName(any_=list(TRAINING)))
    newest = FlowRunSort.EXPECTED_START_TIME_DESC
    found = client.read_flow_runs(flow_filter=flows, flow_run_filter=_in(states), limit=200, sort=newest)
    return (run for run in found if character_of(run.parameters) == character)


def _in(states: Sequence[StateType]) -> FlowRunFilter:
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))


def read_run(client: SyncPrefectClient, run_id: str) -> FlowRun:
    """One run.

    Raises:
        RunError: there is none of that id.
    """
    try:
        return client.read_flow_run(UUID(run_id))
    except (ObjectNotFound, ValueError):
        raise RunError("there is no such run; it may have been deleted") from None


def act(client: SyncPrefectClient, run_id: str, action: str, answer: dict[str, Any]) -> None:
    """Pause, resume, cancel or retry, as Prefect's UI does; or let a waiting run start `earlier` or `later`.

    Raises:
        RunError: there is no such run or action, or the run is in no state for it.
    """
    run = read_run(client, run_id)
    kind, at_work = run.state_type, run.state_type in (StateType.RUNNING, StateType.PENDING)
    state: State[Any] | None = None
    if action == "pause" and (at_work or kind == StateType.SCHEDULED):
        until = datetime.now(UTC) + timedelta(days=_PAUSED_DAYS)
        details = StateDetails.model_validate({"pause_timeout": until, "pause_reschedule": True})
        state = State(type=StateType.PAUSED, name="Suspended", state_details=details)
    elif action == "cancel" and kind in OPEN:
        state = Cancelling() if at_work else Cancelled()
    elif action == "retry" and kind not in OPEN:
        state = AwaitingRetry(message="Retried on the studio page")
    elif action in ("earlier", "later") and kind == StateType.SCHEDULED and run.state:
        due = _beside(client, run_id, 1 if action == "later" else -1)
        details = run.state.state_details.model_copy(update={"scheduled_time": due})
        name = run.state.name if run.state.name != "Late" else "Scheduled"  # Prefect finds that out again
        state = State(type=StateType.SCHEDULED, name=name, state_details=details)
    elif action == "resume" and kind == StateType.PAUSED:
        said = client.resume_flow_run(run.id, answer or None)
        if said.status == SetStateStatus.ACCEPT:
            return
        raise RunError(f"{run.name}: {one_line(getattr(said.details, 'reason', None) or 'that is no answer to it')}")
    if state is None:
        raise RunError(f"{run.name}: {action} is not possible while it is {run.state_name}; reload the page")
    client.set_flow_run_state(run.id, state, force=True)


def _beside(client: SyncPrefectClient, run_id: str, way: int) -> datetime:
    """When a run has to be due to change places with its neighbour: a pool hands out first what is due first."""
    waiting = in_order(latest(client, (StateType.SCHEDULED,)))
    place = next((number for number, run in enumerate(waiting) if run.id == run_id), 0)
    if not 0 <= place + way < len(waiting):
        raise RunError(f"it is the {'last' if way > 0 else 'first'} that waits")
    near, beyond = waiting[place + way].due, place + 2 * way
    return near + (waiting[beyond].due - near) / 2 if 0 <= beyond < len(waiting) else near + way * _APART
