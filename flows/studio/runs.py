"""Flow runs as the page shows and changes them, through Prefect's API and nothing else."""

import contextlib
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact, FlowRun, State, StateDetails, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelled, Cancelling
from pydantic import SecretStr

from flows.deploy import start, start_character
from flows.run_states import OPEN, character_of, is_saving, waits_for
from lora_core.errors import UserError
from lora_core.printable import duration
from lora_core.report.published import FurtherPictures

TRAINING = ("train-character", "train-character-full")
_FLOWS = (*TRAINING, "prepare-style", "train-cast", "draw-more")
_PAUSED_DAYS = 365
_APART = timedelta(milliseconds=1)
_PICTURE = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/=]+")


class RunError(UserError):
    """What was asked of a run cannot be."""


@dataclass(frozen=True)
class Box:
    """A step of a run: its state in Prefect's words or "", share in percent, and what it says of itself."""

    step: str
    state: str
    share: float
    text: str


@dataclass(frozen=True)
class Question:
    """What a suspended run asks: lines, a picture as a data URI or "", whether an epoch may be named."""

    lines: tuple[str, ...]
    picture: str
    epoch: bool


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
    due: datetime | None
    parameters: dict[str, Any]

    @property
    def is_open(self) -> bool:
        """Whether it runs, waits, or may be resumed."""
        return self.kind in {kind.value for kind in OPEN}


@dataclass(frozen=True)
class Details:
    """All of one run but its graph."""

    run: Run
    boxes: dict[str, Box]
    curves: tuple[str, ...]
    question: Question | None


class Runs:
    """Asks one server."""

    def __init__(self, address: str, password: str = "") -> None:
        self._address, self._password = address, password
        self._starting = threading.Lock()
        self._flows: dict[str, str] = {}

    @contextlib.contextmanager
    def _client(self) -> Iterator[SyncPrefectClient]:
        settings: dict[Any, object] = {PREFECT_API_URL: self._address}
        if self._password:
            settings[PREFECT_API_AUTH_STRING] = SecretStr(self._password)
        with temporary_settings(settings), get_client(sync_client=True) as client:
            yield client

    def latest(self, limit: int = 200) -> list[Run]:
        """Runs that train or draw something, the newest first."""
        with self._client() as client:
            found = client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=list(_FLOWS))), limit=limit,
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            )  # fmt: skip
            running = [run.id for run in found if run.state_type == StateType.RUNNING]
            progress = _progress(client, running) if running else []
            return [self._run(client, run, progress) for run in found]

    def of(self, character: str) -> list[Run]:
        """Those that train a character, the newest first."""
        return [run for run in self.latest() if run.character == character]

    def queue(self) -> tuple[list[Run], list[Run]]:
        """Open runs, those that wait for their turn in its order and after those that have theirs; and ended ones."""
        found = self.latest(100)
        waiting = sorted((run for run in found if run.kind == StateType.SCHEDULED.value), key=_due)
        others = [run for run in reversed(found) if run.is_open and run not in waiting]
        return [*others, *waiting], [run for run in found if not run.is_open]

    def details(self, run_id: str) -> Details:
        """A run with its steps and what they say of themselves.

        Raises:
            RunError: there is none of that id.
        """
        with self._client() as client:
            found = self._read(client, run_id)
            steps = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[found.id])), limit=200)
            progress = _progress(client, [found.id])
            bars = {one.task_run_id: one for one in progress}
            begun = sorted(steps, key=lambda step: step.expected_start_time or datetime.now(UTC))
            curves = [(one.metadata_ or {}).get("curves", "") for one in bars.values()]
            return Details(
                self._run(client, found, progress), {step.name: _box(step, bars.get(step.id)) for step in begun},
                tuple(dict.fromkeys(filter(None, curves))), _question(client, found),
            )  # fmt: skip

    def start(self, parameters: dict[str, object]) -> str:
        """Start a run, or find the one that this character has already; returns its id."""
        with self._starting, self._client():
            return str(start_character(parameters, f"studio:{uuid.uuid4()}", "studio").id)

    def draw(self, result: str, asked: FurtherPictures) -> str:
        """Start drawing further pictures of a published LoRA; returns the run's id."""
        with self._client():
            parameters = {"result": result, **asked.model_dump(mode="json")}
            return str(start("draw-more", parameters, f"{result} drawn", f"studio:{uuid.uuid4()}", "studio").id)

    def act(self, run_id: str, action: str, answer: dict[str, Any]) -> None:
        """Pause, resume, cancel or retry, as Prefect's UI does; or let a waiting run start earlier or later.

        Raises:
            RunError: there is no such run or action, or the run is in no state for it.
        """
        with self._client() as client:
            run = self._read(client, run_id)
            kind = run.state_type
            if action == "pause" and kind in (StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED):
                until = datetime.now(UTC) + timedelta(days=_PAUSED_DAYS)
                details = StateDetails.model_validate({"pause_timeout": until, "pause_reschedule": True})
                state: State[Any] = State(type=StateType.PAUSED, name="Suspended", state_details=details)
                client.set_flow_run_state(run.id, state, force=True)
            elif action == "resume" and kind == StateType.PAUSED:
                client.resume_flow_run(run.id, answer or None)
            elif action == "cancel" and kind in OPEN:
                works = kind in (StateType.RUNNING, StateType.PENDING)
                client.set_flow_run_state(run.id, Cancelling() if works else Cancelled(), force=True)
            elif action == "retry" and kind not in OPEN:
                client.set_flow_run_state(run.id, AwaitingRetry(message="Retried on the studio page"), force=True)
            elif action in ("earlier", "later") and kind == StateType.SCHEDULED and run.state:
                details = run.state.state_details.model_copy(
                    update={"scheduled_time": self._beside(run_id, 1 if action == "later" else -1)}
                )
                name = run.state.name if run.state.name != "Late" else "Scheduled"  # Prefect finds out again
                client.set_flow_run_state(
                    run.id, State(type=StateType.SCHEDULED, name=name, state_details=details), force=True
                )
            else:
                raise RunError(f"{run.name}: {action} is not possible while it is {run.state_name}; reload the page")

    def _beside(self, run_id: str, way: int) -> datetime:
        """When a run has to be due to change places with its neighbour; a pool hands runs out in the order of that."""
        waiting = [run for run in self.queue()[0] if run.kind == StateType.SCHEDULED.value]
        place = next((number for number, run in enumerate(waiting) if run.id == run_id), 0)
        if not 0 <= place + way < len(waiting):
            raise RunError(f"it is the {'last' if way > 0 else 'first'} that waits")
        beyond = waiting[place + 2 * way] if 0 <= place + 2 * way < len(waiting) else None
        near = _due(waiting[place + way])
        return near + (_due(beyond) - near) / 2 if beyond else near + way * _APART

    def _read(self, client: SyncPrefectClient, run_id: str) -> FlowRun:
        try:
            return client.read_flow_run(uuid.UUID(run_id))
        except (ObjectNotFound, ValueError):
            raise RunError("there is no such run; it may have been deleted") from None

    def _run(self, client: SyncPrefectClient, run: FlowRun, progress: Sequence[Artifact]) -> Run:
        flow = self._flows.get(str(run.flow_id))
        if flow is None:
            flow = self._flows[str(run.flow_id)] = client.read_flow(run.flow_id).name
        message = " ".join((run.state.message or "").split()) if run.state else ""
        state, doing, share = run.state_name or "", message, 0.0
        if run.state_type == StateType.PAUSED:
            saving = is_saving(client, run)
            state, doing = ("Pausing", "saving …") if saving else ("Paused", waits_for(run))
        elif run.state_type == StateType.RUNNING:
            mine = [one for one in progress if one.flow_run_id == run.id and float(one.data or 0) < 100]  # type: ignore[arg-type]
            doing, share = (_now(mine[-1]), float(mine[-1].data or 0)) if mine else (message, 0.0)  # type: ignore[arg-type]
        return Run(
            str(run.id), run.name, character_of(run) if flow in TRAINING else "", flow, state,
            run.state_type.value if run.state_type else "", doing, share,
            run.end_time or run.start_time or run.expected_start_time, run.next_scheduled_start_time, run.parameters,
        )  # fmt: skip


def _due(run: Run) -> datetime:
    return run.due or run.since or datetime.now(UTC)


def _progress(client: SyncPrefectClient, runs: list[uuid.UUID]) -> list[Artifact]:
    """Progress artifacts of runs, those that were brought up to date last at the end."""
    of_runs = ArtifactFilterFlowRunId(any_=list(runs))
    found = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=of_runs, type=ArtifactFilterType(any_=["progress"]))
    )
    return sorted(found, key=lambda one: one.updated or datetime.now(UTC))


def _now(bar: Artifact) -> str:
    """What a run is at: "train character 812 of 3,800, whole run about 40 min"."""
    told = {"step": "", "run_left": "", **(bar.metadata_ or {})}
    counted, left = _counted(bar)
    return f"{told['step']} {counted}, {told['run_left'] or left}".strip(" ,")


def _counted(bar: Artifact) -> tuple[str, str]:
    """How far a step is, and how long it takes on."""
    told = {"done": "0", "total": "0", "seconds_left": "0", **(bar.metadata_ or {})}
    done, total = int(told["done"]), int(told["total"])
    left = f"{duration(float(told['seconds_left']))} left" if 0 < done < total else ""
    return f"{done:,} of {total:,}" if total else "starting", left


def _box(step: TaskRun, bar: Artifact | None) -> Box:
    if step.state_name == "Cached" or step.state_type == StateType.COMPLETED:
        seconds = step.total_run_time.total_seconds()
        return Box(
            step.name, step.state_name or "", 100.0, "cached" if step.state_name == "Cached" else f"{seconds:.0f} s"
        )
    text = ", ".join(filter(None, _counted(bar))) if bar else ""
    return Box(step.name, step.state_name or "", float(bar.data or 0) if bar else 0.0, text)  # type: ignore[arg-type]


def _question(client: SyncPrefectClient, run: FlowRun) -> Question | None:
    keys = run.state.state_details.run_input_keyset if run.state and run.state_type == StateType.PAUSED else None
    if not keys or "description" not in keys:
        return None
    text = client.read_flow_run_input(run.id, keys["description"])
    schema = client.read_flow_run_input(run.id, keys["schema"])
    picture = _PICTURE.search(text)
    lines = [line.removeprefix("- ").replace("**", "").strip() for line in text.splitlines() if "<img" not in line]
    return Question(tuple(filter(None, lines)), picture[0] if picture else "", '"epoch"' in schema)
