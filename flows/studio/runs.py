"""What the page shows of a run: its steps, its question, the curves and pictures of its trainings."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import Artifact, FlowRun, StateType, TaskRun

from flows.runs import asks, counted, share_of
from lora_core.training.curves import curves_svg, read_curves

_PICTURE = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/=]+")
_MOST_POINTS = 300


class Box(NamedTuple):
    """A step of a run: its state in Prefect's words, share in percent, and what it says of itself."""

    state: str = ""
    share: float = 0.0
    text: str = ""


class Question(NamedTuple):
    """What a suspended run asks: a text, a picture as a data URI or "", and its fields as JSON schema has them."""

    text: str
    picture: str
    fields: dict[str, dict[str, Any]]


def boxes_of(client: SyncPrefectClient, run: FlowRun, bars: Sequence[Artifact]) -> defaultdict[str, Box]:
    """The steps that a run has begun, by name and in their order; any other is an empty box."""
    steps = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])), limit=200)
    by_step = {one.task_run_id: one for one in bars}
    begun = sorted(steps, key=lambda step: step.expected_start_time or datetime.now(UTC))
    return defaultdict(Box, {step.name: _box(step, by_step.get(step.id)) for step in begun})


def _box(step: TaskRun, bar: Artifact | None) -> Box:
    state = step.state_name or ""
    if step.state_type == StateType.COMPLETED:
        return Box(state, 100.0, "cached" if state == "Cached" else f"{step.total_run_time.total_seconds():.0f} s")
    return Box(state, share_of(bar), ", ".join(filter(None, counted(bar)))) if bar else Box(state, 0.0, state)


def question_of(client: SyncPrefectClient, run: FlowRun) -> Question | None:
    """What a run asks; None: nothing."""
    keys: dict[str, Any] = (asks(run) and run.state and run.state.state_details.run_input_keyset) or {}
    if "description" not in keys:
        return None
    text = client.read_flow_run_input(run.id, keys["description"])
    fields = json.loads(client.read_flow_run_input(run.id, keys["schema"]))["properties"]
    lines = (line.removeprefix("- ").replace("**", "") for line in text.splitlines() if "<img" not in line)
    picture = _PICTURE.search(text)
    return Question(unescape("\n".join(filter(None, lines))), picture[0] if picture else "", fields)


class Drawing(NamedTuple):
    """A training's curves as an SVG, and the files of its samples by epoch."""

    name: str
    svg: str
    samples: dict[str, list[str]]


def drawing(curves: Path, name: str) -> Drawing | None:
    """The curves of a training in the store's folder of them, as far as it is; None: nothing is there yet."""
    folder = curves / name
    if Path(name).name != name or name.startswith(".") or not (points := read_curves(folder, _MOST_POINTS)):
        return None
    samples: dict[str, list[str]] = {}
    for path in sorted((folder / "samples").glob("*.png")):
        of, _, epoch = path.stem.rpartition("-")[0].partition("-")
        samples.setdefault(f"{of} {int(epoch)}" if epoch else of, []).append(f"{name}/{path.name}")
    return Drawing(name.rpartition("-")[0], curves_svg(points), samples)
