"""What starts by itself: screenshots in a folder, a run whose worker was killed; and what is told when it does not."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import Up, started, wait_for
from small_home import new_home

pytestmark = [pytest.mark.slow, pytest.mark.long]

PATIENT_SECONDS = 900.0


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Iterator[Up]:
    """With no character yet, and room for one run."""
    folder = tmp_path_factory.mktemp("schedules")
    with started(new_home(folder / "home", drawn, folder / "prefect", ()), "--runs", "1") as running:
        yield running


def _set(up: Up, deployment: str, interval_seconds: float, **parameters: Any) -> None:
    """Change schedule and parameters, as a person does in Prefect's UI."""
    found = up.ask("GET", f"deployments/name/{deployment}/{deployment}")
    (schedule,) = found["schedules"]
    path = f"deployments/{found['id']}"
    up.ask("PATCH", path, parameters=parameters)
    up.ask("PATCH", f"{path}/schedules/{schedule['id']}", schedule={"interval": interval_seconds, "timezone": "UTC"})


def _runs(up: Up, deployment: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = up.post("flow_runs/filter", deployments={"name": {"any_": [deployment]}})
    return found


def _wait_for_line(up: Up, line: str) -> str:
    """A line at the terminal."""
    found: str = wait_for(
        lambda: next((one for one in up.said.read_text().splitlines() if line in one), ""), line, PATIENT_SECONDS
    )
    return found


@pytest.mark.door
def test_up_is_ready_when_prefects_scheduler_has_made_a_run_of_every_schedule(up: Up) -> None:
    line = _wait_for_line(up, "Ready: the next look at the folders in ")
    assert str(up.project.folder / "characters") in line
    for deployment in ("watch-inbox", "janitor"):
        assert any(run["auto_scheduled"] and "auto-scheduled" in run["tags"] for run in _runs(up, deployment))


@pytest.mark.door
def test_screenshots_copied_into_a_folder_become_a_lora_though_nobody_calls_anything(up: Up, drawn: Path) -> None:
    characters = up.project.folder / "characters"
    (characters / ("a" * 81)).mkdir(parents=True)
    (characters / "a pipe").mkdir()
    os.mkfifo(characters / "a pipe" / "x.png")
    _set(up, "watch-inbox", 15, quiet_minutes=0.05)
    shutil.copytree(drawn / "character", characters / "momo")
    lora = up.project.folder / "out/momo/momo.safetensors"
    wait_for(lora.is_file, "the finished LoRA", PATIENT_SECONDS)
    (run,) = _runs(up, "train-character")
    run = up.state(run["id"], "Completed")
    assert "inbox" in run["tags"]
    all_looks = _runs(up, "watch-inbox")
    assert all(one["auto_scheduled"] for one in all_looks)
    assert not {one["state_name"] for one in all_looks} & {"Failed", "Crashed"}
    looks = [one for one in all_looks if one["state_name"] == "Completed"]
    # With room for one run, which a training has, the looks go on: they have places of their own.
    assert [one for one in looks if run["start_time"] < one["start_time"] and one["end_time"] < run["end_time"]]
    assert "81 letters" in up.told("refused", "a" * 81)["message"]
    assert [one["about"] for one in up.webhook.received if one["event"] == "refused"] == ["a" * 81]


def test_a_run_killed_with_its_worker_is_crashed_and_retried_by_the_scheduled_janitor(up: Up) -> None:
    _set(up, "watch-inbox", 3600)
    _set(up, "janitor", 60, silent_seconds=90, retries=1)
    run = up.caught_in_training("momo")
    process = int(up.run(run)["infrastructure_pid"])
    worker = psutil.Process(process).ppid()
    os.kill(worker, signal.SIGKILL)
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: up.run(run)["state_name"] == "Completed", "the run to be done by itself", PATIENT_SECONDS)
    assert up.run(run)["run_count"] == 2
    states = [state["name"] for state in up.ask("GET", f"flow_run_states/?flow_run_id={run}")]
    assert states.index("Crashed") < states.index("AwaitingRetry") < states.index("Completed")
    assert all(one["auto_scheduled"] for one in _runs(up, "janitor"))


@contextmanager
def _no_run_can_be_made(up: Up) -> Iterator[None]:
    """Let the scheduler of the server fail in every round, as it does with a library that is too new; then mend it."""
    _execute(up, "CREATE TRIGGER broken BEFORE INSERT ON flow_run BEGIN SELECT RAISE(ABORT, 'out of order'); END")
    try:
        yield
    finally:
        _execute(up, "DROP TRIGGER broken")


def _execute(up: Up, statement: str) -> None:
    with closing(sqlite3.connect(up.project.home / "prefect.db", timeout=60)) as database:
        database.execute(statement)
        database.commit()


def test_a_scheduler_that_fails_is_told_at_the_terminal_in_status_and_in_the_ui(up: Up) -> None:
    with _no_run_can_be_made(up):
        _set(up, "watch-inbox", 5)
        error = _wait_for_line(up, "the server reports an error: ")
        assert "server.log" in error
        assert "out of order" in (up.project.folder / ".headcanon/logs/server.log").read_text()
        silent = _wait_for_line(up, "watch-inbox: Prefect's scheduler has made no run since ")
        assert "no run" in up.told("silent", "watch-inbox")["message"]
        # The janitor may have fallen silent beside it, and on a slow machine a schedule may have been late before.
        artifacts = up.post("artifacts/filter", artifacts={"key": {"any_": ["schedules"]}})
        assert [one for one in artifacts if silent.split(" has ")[0] in one["data"]]
        status = up.project.run("status", ".", "--api", up.api)
        assert "watch-inbox: Prefect's scheduler has made no run since" in " ".join(status.stdout.split())
    _wait_for_line(up, "watch-inbox: scheduled runs start again")
    said = up.said.read_text()
    assert said.count("watch-inbox: Prefect's scheduler has made no run since") == 1
    assert said.count("reports an error") == 1


def test_a_start_whose_scheduler_makes_no_run_says_that_it_is_not_ready(up: Up) -> None:
    with _no_run_can_be_made(up):
        assert up.stop() == 0
        before = up.said.read_text().count("Ready: ")
        up.start()
        line = _wait_for_line(up, "Not ready: Prefect's scheduler made no run of ")
        assert "watch-inbox" in line
        assert "janitor" in line
        assert up.said.read_text().count("Ready: ") == before


def test_logs_and_the_database_are_their_owners_alone(up: Up) -> None:
    for folder in (up.project.home, up.project.folder / ".headcanon/logs"):
        assert folder.stat().st_mode & 0o777 == 0o700
        for path in folder.iterdir():
            assert not path.is_file() or path.stat().st_mode & 0o077 == 0, path
