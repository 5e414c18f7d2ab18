"""The page and its server: runs with all that is shown of them, started and changed through Prefect's API alone."""

import contextlib
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import Artifact, FlowRun, StateType, TaskRun

from flows import runs
from flows.deploy import as_client, start, start_character
from flows.runs import Run
from lora_core.report.published import Further

_PICTURE = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/=]+")


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

    @cached_property
    def _opened(self) -> SyncPrefectClient:
        client = SyncPrefectClient(self._address, auth_string=self._password or None)
        return client.__enter__()  # for as long as this process

    @contextlib.contextmanager
    def _client(self) -> Iterator[SyncPrefectClient]:
        """The same for every request: to make one takes longer than most answers."""
        yield self._opened

    def latest(self) -> list[Run]:
        """The newest first."""
        with self._client() as client:
            return runs.latest(client)

    def of(self, character: str) -> list[Run]:
        """Those that train a character, the newest first."""
        return [run for run in self.latest() if run.character == character]

    def details(self, run_id: str) -> Details:
        """A run with its steps and what they say of themselves.

        Raises:
            RunError: there is none of that id.
        """
        with self._client() as client:
            found = runs.read_run(client, run_id)
            of_run = FlowRunFilter(id=FlowRunFilterId(any_=[found.id]))
            steps = client.read_task_runs(flow_run_filter=of_run, limit=200)
            bars = runs.progress(client, [found.id])
            by_step = {one.task_run_id: one for one in bars}
            begun = sorted(steps, key=lambda step: step.expected_start_time or datetime.now(UTC))
            curves = dict.fromkeys((one.metadata_ or {}).get("curves", "") for one in bars)
            run = runs.described(client, found, client.read_flow(found.flow_id).name, bars)
            boxes = {step.name: _box(step, by_step.get(step.id)) for step in begun}
            return Details(run, boxes, tuple(filter(None, curves)), _question(client, found))

    def start(self, parameters: Mapping[str, object]) -> str:
        """Start a run, or find the one that this character has already; returns its id."""
        with self._starting, as_client(self._address, self._password):
            return str(start_character(parameters, f"studio:{uuid.uuid4()}", "studio").id)

    def draw(self, result: str, asked: Further) -> str:
        """Start drawing further pictures of a published LoRA; returns the run's id."""
        with as_client(self._address, self._password):
            parameters = {"result": result, **asked.parameters}
            return str(start("draw-more", parameters, f"studio:{uuid.uuid4()}", "studio").id)

    def act(self, run_id: str, action: str, answer: dict[str, Any]) -> None:
        """What a run's buttons do (`flows.runs.act`)."""
        with self._client() as client:
            runs.act(client, run_id, action, answer)


def _box(step: TaskRun, bar: Artifact | None) -> Box:
    state = step.state_name or ""
    if step.state_type == StateType.COMPLETED:
        seconds = step.total_run_time.total_seconds()
        return Box(step.name, state, 100.0, "cached" if state == "Cached" else f"{seconds:.0f} s")
    if bar is None:
        return Box(step.name, state, 0.0, "")
    return Box(step.name, state, runs.share_of(bar), ", ".join(filter(None, runs.counted(bar))))


def _question(client: SyncPrefectClient, run: FlowRun) -> Question | None:
    keys = run.state.state_details.run_input_keyset if run.state and run.state_type == StateType.PAUSED else None
    if not keys or "description" not in keys:
        return None
    text = client.read_flow_run_input(run.id, keys["description"])
    schema = client.read_flow_run_input(run.id, keys["schema"])
    picture = _PICTURE.search(text)
    lines = [line.removeprefix("- ").replace("**", "").strip() for line in text.splitlines() if "<img" not in line]
    return Question(tuple(filter(None, lines)), picture[0] if picture else "", '"epoch"' in schema)
