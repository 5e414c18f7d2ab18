"""A run with all that the page shows of it."""

import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import Artifact, FlowRun, StateType, TaskRun

from flows.runs import Run, counted, described, progress, read_run, share_of
from lora_core.training.curves import polyline, read_curves

_PICTURE = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/=]+")
_MOST_POINTS = 300


class Box(NamedTuple):
    """A step of a run: its state in Prefect's words, share in percent, and what it says of itself."""

    state: str = ""
    share: float = 0.0
    text: str = ""


class Question(NamedTuple):
    """What a suspended run asks: lines, a picture as a data URI or "", and its fields as JSON schema has them."""

    lines: tuple[str, ...]
    picture: str
    fields: dict[str, dict[str, Any]]


class Details(NamedTuple):
    """All of one run but its graph."""

    run: Run
    boxes: defaultdict[str, Box]
    curves: tuple[str, ...]
    question: Question | None


def details(client: SyncPrefectClient, run_id: str) -> Details:
    """A run with its steps and what they say of themselves.

    Raises:
        RunError: there is none of that id.
    """
    found = read_run(client, run_id)
    steps = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[found.id])), limit=200)
    bars = progress(client, [found.id])
    by_step = {one.task_run_id: one for one in bars}
    begun = sorted(steps, key=lambda step: step.expected_start_time or datetime.now(UTC))
    boxes = defaultdict(Box, {step.name: _box(step, by_step.get(step.id)) for step in begun})
    curves = dict.fromkeys((one.metadata_ or {}).get("curves", "") for one in bars)
    run = described(client, found, client.read_flow(found.flow_id).name, bars)
    return Details(run, boxes, tuple(filter(None, curves)), _question(client, found))


def _box(step: TaskRun, bar: Artifact | None) -> Box:
    state = step.state_name or ""
    if step.state_type == StateType.COMPLETED:
        return Box(state, 100.0, "cached" if state == "Cached" else f"{step.total_run_time.total_seconds():.0f} s")
    return Box(state, share_of(bar), ", ".join(filter(None, counted(bar)))) if bar else Box(state, 0.0, state)


def _question(client: SyncPrefectClient, run: FlowRun) -> Question | None:
    keys = run.state.state_details.run_input_keyset if run.state and run.state_type == StateType.PAUSED else None
    if not keys or "description" not in keys:
        return None
    text = client.read_flow_run_input(run.id, keys["description"])
    fields = json.loads(client.read_flow_run_input(run.id, keys["schema"]))["properties"]
    picture = _PICTURE.search(text)
    lines = (line.removeprefix("- ").replace("**", "").strip() for line in text.splitlines() if "<img" not in line)
    return Question(tuple(unescape(line) for line in lines if line), picture[0] if picture else "", fields)


class Drawing(NamedTuple):
    """A training's curves as points of an SVG, what its axes say, and the names of its samples by epoch."""

    name: str
    loss: str
    rate: str
    steps: int
    lowest: float
    highest: float
    learning_rate: float
    samples: dict[str, list[str]]


def drawing(curves: Path, name: str) -> Drawing | None:
    """The curves of a training in the store's folder of them, as far as it is; None: nothing is there yet."""
    folder = curves / name
    if Path(name).name != name or name.startswith(".") or not (points := read_curves(folder, _MOST_POINTS)):
        return None
    steps, losses, rates = zip(*points, strict=True)
    samples: dict[str, list[str]] = {}
    for path in sorted((folder / "samples").glob("*.png")):
        name_of, _, number = path.stem.rpartition("-")[0].partition("-")
        samples.setdefault(f"{name_of} {int(number)}" if number else name_of, []).append(path.name)
    return Drawing(
        name.rpartition("-")[0], polyline(steps, losses), polyline(steps, rates), steps[-1], min(losses), max(losses),
        rates[-1], samples,
    )  # fmt: skip
