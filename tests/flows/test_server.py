"""Against a real Prefect server: the run, its steps and their logs are there."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect_server import prefect_server
from small_project import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that knows nothing but these tests."""
    with prefect_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def project(project: Project, own_api: str) -> Project:
    return replace(project, api=own_api)


def _all(address: str, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.post(f"{address}/{what}/filter", json={}, timeout=60).raise_for_status().json()
    return found


def test_a_run_against_a_server_is_seen_there_with_its_steps_and_log_lines(own_api: str, project: Project) -> None:
    done = project.run("run", "recipe.toml", "--until", "caption")
    assert done.returncode == 0, done.stderr
    (run,) = [run for run in _all(own_api, "flow_runs") if run["parameters"]]  # a gate's test may have had its own
    assert run["state_type"] == "COMPLETED"
    deadline = time.monotonic() + 60  # task runs and logs reach the server a little later
    while time.monotonic() < deadline:
        steps = {step["name"]: step["state_type"] for step in _all(own_api, "task_runs")}
        lines = [line["message"] for line in _all(own_api, "logs")]
        ended = "downscale" in steps and set(steps.values()) == {"COMPLETED"}
        if ended and any(line.startswith("caption: 4 images") for line in lines):
            break
        time.sleep(1)
    sets = {f"{step} {branch}" for step in ("preprocess", "tag") for branch in ("style", "character")}
    assert steps.keys() == {*sets, "caption character", "check captions", "downscale"}, "the nodes, and no helper"
    assert set(steps.values()) == {"COMPLETED"}
    assert any(line.startswith("tag: 4 images") for line in lines)


_ASKING = """
import flows.cli
from pathlib import Path
from prefect import flow
from PIL import Image
from flows.asking import EpochAnswer, Question, ask

Image.new("RGB", (64, 48), "red").save("grid.png")

@flow(name="asking")
def asking():
    answer = ask(Question("epoch", ("leak 0.30, at most 0.25",), Path("grid.png"), 5), EpochAnswer)
    print(answer.decision, answer.epoch, answer.weight)

asking()
"""


def test_a_gate_that_asks_waits_for_the_form_in_the_ui_and_goes_on_with_the_answer(
    own_api: str, project: Project
) -> None:
    asking = subprocess.Popen(
        [sys.executable, "-c", _ASKING],
        cwd=project.folder,
        env={**project.environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    paused: list[dict[str, Any]] = []
    while not paused and time.monotonic() < deadline:
        assert asking.poll() is None, asking.communicate()
        time.sleep(0.5)
        paused = [run for run in _all(own_api, "flow_runs") if run["state_type"] == "PAUSED"]
    (run,) = paused
    keys = run["state"]["state_details"]["run_input_keyset"]
    form, description = (_input(own_api, run["id"], keys[name]) for name in ("schema", "description"))
    places = {name: field["position"] for name, field in form["properties"].items()}
    assert places == {"decision": 0, "epoch": 1, "weight": 2}
    assert "leak 0.30, at most 0.25" in description
    assert "data:image/jpeg;base64," in description
    resumed = httpx.post(
        f"{own_api}/flow_runs/{run['id']}/resume", json={"run_input": {"decision": "continue", "epoch": 7}}, timeout=60
    )
    assert resumed.raise_for_status().json()["status"] == "ACCEPT"
    out, told = asking.communicate(timeout=300)
    assert asking.returncode == 0, told
    assert out.split() == ["continue", "7", "0"]


def _input(api: str, run: str, key: str) -> Any:
    """A part of the form; it comes a moment after the pause."""
    deadline = time.monotonic() + 60
    while not (found := httpx.get(f"{api}/flow_runs/{run}/input/{key}", timeout=60)).is_success:
        assert time.monotonic() < deadline, found.text
        time.sleep(0.5)
    return found.json()
