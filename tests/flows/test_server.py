"""Against a real Prefect server: the run, its steps and their logs are there."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def api(tmp_path: Path) -> Iterator[str]:
    """The address of a server that was started for this test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "server"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _healthy(f"http://127.0.0.1:{port}/api", server)
    finally:
        server.terminate()
        server.wait(timeout=60)


def _healthy(address: str, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended while starting"
        try:
            if httpx.get(f"{address}/health").is_success:
                return address
        except httpx.TransportError:
            time.sleep(0.5)
    raise AssertionError("the server did not start within 180 s")


def _all(address: str, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.post(f"{address}/{what}/filter", json={}).raise_for_status().json()
    return found


def test_a_run_against_a_server_is_seen_there_with_its_steps_and_log_lines(api: str, project: Project) -> None:
    done = project.run("run", "recipe.toml", "--until", "caption", api=api)
    assert done.returncode == 0, done.stderr
    (run,) = _all(api, "flow_runs")
    assert run["state_type"] == "COMPLETED"
    deadline = time.monotonic() + 60  # task runs and logs reach the server a little later
    while time.monotonic() < deadline:
        steps = {step["name"]: step["state_type"] for step in _all(api, "task_runs")}
        lines = [line["message"] for line in _all(api, "logs")]
        if "caption" in steps and any(line.startswith("caption: 4 images") for line in lines):
            break
        time.sleep(1)
    assert {steps[name] for name in ("find base", "preprocess", "tag", "content rule", "caption")} == {"COMPLETED"}
    assert any(line.startswith("tag: 4 images") for line in lines)
