"""Two workers: a cast has its style trained once; one character that both start at once is trained once."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Up, started
from small_home import new_home
from small_project import Project

from flows.child_processes import Child
from flows.up import worker_of
from flows.wanted import Wanted

pytestmark = [pytest.mark.slow, pytest.mark.long]

CAST = tuple(f"momo{number}" for number in range(1, 7))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Iterator[Up]:
    """A home with a cast, and a second worker beside `headcanon up`'s own."""
    folder = tmp_path_factory.mktemp("cast")
    home = new_home(folder / "home", drawn, folder / "prefect", CAST)
    with started(home, "--runs", "1") as running:
        second = _second_worker(running, home)
        try:
            yield running
        finally:
            second.end(30)


def _second_worker(up: Up, project: Project) -> Child:
    second = worker_of(Wanted(home=project.folder, api=up.api, runs=1), "second")
    second.start()
    return second


def test_a_cast_has_its_style_trained_once_and_every_character_published(up: Up) -> None:
    cast = up.submit("train-cast")
    up.state(cast, "Completed")
    runs = up.post("flow_runs/filter", flows={"name": {"any_": ["train-character"]}})
    assert {run["name"] for run in runs} == set(CAST)
    for run in runs:
        up.state(run["id"], "Completed")
    assert {path.parent.name for path in (up.project.folder / "out").glob("*/*.safetensors")} == set(CAST)
    states = Counter(state for run in (cast, *(one["id"] for one in runs)) for state in _of(up, run, "train style"))
    assert states == {"Completed": 1, "Cached": len(CAST)}
    assert len({worker for run in runs for worker in _takers(up, run["id"])}) == 2


def test_one_character_that_two_workers_start_at_once_is_trained_once(up: Up) -> None:
    home = up.project.folder
    shutil.copytree(home / "characters" / CAST[0], home / "characters" / "twin")
    runs = [up.submit("train-character", character="twin") for _ in range(2)]
    for run in runs:
        up.state(run, "Completed")
    assert len({worker for run in runs for worker in _takers(up, run)}) == 2
    trained = [line for run in runs for line in _lines(up, run) if re.match(r"train character: \d+ steps", line)]
    assert len(trained) == 1
    assert [path.name for path in (home / "out").glob("twin*")] == ["twin"]


def _of(up: Up, run: str, step: str) -> list[str]:
    return up.steps(run, step)[step]


def _takers(up: Up, run: str) -> set[str]:
    """The workers that took a run, by their own log lines."""
    return {line.split("'")[1] for line in _lines(up, run) if line.startswith("Worker '")}


def _lines(up: Up, run: str) -> list[str]:
    """What a run's log says at the server."""
    return [line["message"] for line in up.post("logs/filter", logs={"flow_run_id": {"any_": [run]}})]
