"""Flow runs as the page shows and changes them, through Prefect's API and nothing else."""

import contextlib
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
from prefect.client.schemas.objects import FlowRun, State, StateDetails, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelled, Cancelling
from pydantic import SecretStr

from flows.deploy import start_character
from flows.run_states import is_saving, waits_for
from lora_core.errors import UserError
from lora_core.training.curves import polyline, read_curves

FLOWS = ("train-character", "train-character-options", "train-character-full", "prepare-style", "train-cast")
_PAUSED_DAYS = 365
_MOST_POINTS = 300
_OPEN = (
    StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING,
)  # fmt: skip
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
    """One run: `is_open` until it has ended for good; `doing` is a line about it."""

    id: str
    character: str
    flow: str
    state: str
    kind: str
    doing: str
    since: datetime | None
    parameters: dict[str, Any]

    @property
    def is_open(self) -> bool:
        """Whether it runs, waits, or may be resumed."""
        return self.kind in {kind.value for kind in _OPEN}


@dataclass(frozen=True)
class Details:
    """All of one run but its graph."""

    run: Run
    boxes: dict[str, list[Box]]
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
        """Runs that train something, the newest first."""
        with self._client() as client:
            found = client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=list(FLOWS))),
                limit=limit,
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            )
            return [self._run(client, run) for run in found]

    def details(self, run_id: str) -> Details:
        """A run with its steps and what they say of themselves.

        Raises:
            RunError: there is none of that id.
        """
        with self._client() as client:
            found = self._read(client, run_id)
            of_run = FlowRunFilter(id=FlowRunFilterId(any_=[found.id]))
            steps = client.read_task_runs(flow_run_filter=of_run, limit=200)
            figures = self._figures(client, found)
            boxes: dict[str, list[Box]] = {}
            for step in sorted(steps, key=lambda step: step.expected_start_time or datetime.now(UTC)):
                boxes.setdefault(step.name, []).append(_box(step, figures.get(step.id)))
            curves = [one["metadata"].get("curves", "") for one in figures.values()]
            return Details(
                self._run(client, found), boxes, tuple(dict.fromkeys(filter(None, curves))),
                self._question(client, found),
            )  # fmt: skip

    def start(self, character: str, preset: str) -> str:
        """Start a run, or find the one that this character has already; returns its id."""
        with self._starting:
            known = next((run.id for run in self.latest() if run.character == character and run.is_open), "")
            if known:
                return known
            with self._client():
                return str(start_character(character, preset, f"studio:{uuid.uuid4()}", "studio").id)

    def act(self, run_id: str, action: str, answer: dict[str, Any]) -> None:
        """Pause, resume, cancel or retry, as Prefect's UI does.

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
            elif action == "cancel" and kind in _OPEN:
                works = kind in (StateType.RUNNING, StateType.PENDING)
                client.set_flow_run_state(run.id, Cancelling() if works else Cancelled(), force=True)
            elif action == "retry" and kind not in _OPEN:
                client.set_flow_run_state(run.id, AwaitingRetry(message="Retried on the studio page"), force=True)
            else:
                raise RunError(f"{run.name}: {action} is not possible while it is {run.state_name}; reload the page")

    def _read(self, client: SyncPrefectClient, run_id: str) -> FlowRun:
        try:
            return client.read_flow_run(uuid.UUID(run_id))
        except (ObjectNotFound, ValueError):
            raise RunError("there is no such run; it may have been deleted") from None

    def _run(self, client: SyncPrefectClient, run: FlowRun) -> Run:
        flow = self._flows.get(str(run.flow_id))
        if flow is None:
            flow = self._flows[str(run.flow_id)] = client.read_flow(run.flow_id).name
        character = str(run.parameters.get("character") or run.parameters.get("name") or run.name)
        message = " ".join((run.state.message or "").split()) if run.state else ""
        state, doing = run.state_name or "", message
        if run.state_type == StateType.PAUSED:
            saving = is_saving(client, run)
            state, doing = ("Pausing", "saving …") if saving else ("Paused", waits_for(run))
        since = run.end_time or run.start_time or run.expected_start_time
        kind = run.state_type.value if run.state_type else ""
        return Run(str(run.id), character, flow, state, kind, doing, since, run.parameters)

    def _figures(self, client: SyncPrefectClient, run: FlowRun) -> dict[uuid.UUID, dict[str, Any]]:
        """Task run → its progress artifact."""
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), type=ArtifactFilterType(any_=["progress"])
            )
        )
        newest = sorted(found, key=lambda one: one.updated or datetime.now(UTC))
        return {
            one.task_run_id: {"share": one.data, "text": one.description, "metadata": one.metadata_ or {}}
            for one in newest
            if one.task_run_id
        }

    def _question(self, client: SyncPrefectClient, run: FlowRun) -> Question | None:
        keys = run.state.state_details.run_input_keyset if run.state and run.state_type == StateType.PAUSED else None
        if not keys or "description" not in keys:
            return None
        text = client.read_flow_run_input(run.id, keys["description"])
        schema = client.read_flow_run_input(run.id, keys["schema"])
        picture = _PICTURE.search(text)
        lines = [line.removeprefix("- ").replace("**", "").strip() for line in text.splitlines() if "<img" not in line]
        return Question(tuple(filter(None, lines)), picture[0] if picture else "", '"epoch"' in schema)


def _box(step: TaskRun, figures: dict[str, Any] | None) -> Box:
    done = step.state_type == StateType.COMPLETED
    share = 100.0 if done else float(figures["share"] or 0) if figures else 0.0
    seconds = step.total_run_time.total_seconds()
    text = str(figures["text"]).partition(": ")[2] if figures and not done else f"{seconds:.0f} s" if done else ""
    return Box(step.name, step.state_name or "", share, "cached" if step.state_name == "Cached" else text)


@dataclass(frozen=True)
class Drawing:
    """A training's curves as points of an SVG of 600 × 120, and what its axes say."""

    name: str
    loss: str
    rate: str
    steps: int
    lowest: float
    highest: float
    learning_rate: float
    samples: tuple[tuple[str, tuple[str, ...]], ...]


def drawing(curves: Path, name: str) -> Drawing | None:
    """The curves of a training in the store's folder of them, as far as it is; None: nothing is there yet.

    Args:
        curves: the store's folder of curves.
        name: of the training's own.
    """
    folder = curves / name
    if not re.fullmatch(r"[^/\\]+", name) or name.startswith(".") or not (points := read_curves(folder, _MOST_POINTS)):
        return None
    steps, losses, rates = zip(*points, strict=True)
    samples: dict[str, list[str]] = {}
    for path in sorted((folder / "samples").glob("*.png")):
        samples.setdefault(path.stem.rpartition("-")[0], []).append(path.name)
    return Drawing(
        name.rpartition("-")[0], polyline(steps, losses), polyline(steps, rates), steps[-1], min(losses), max(losses),
        rates[-1], tuple((epoch, tuple(names)) for epoch, names in samples.items()),
    )  # fmt: skip
