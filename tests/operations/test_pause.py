"""Pause and Cancel as the UI does them, and a worker that is told to end: saved at the very step, the same bytes."""

import json
import os
import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import Up, wait_for

from lora_core.store.digests import file_digest
from lora_core.training.resume import read_position

pytestmark = [pytest.mark.slow, pytest.mark.long]

# Saving takes moments here; the process has to leave Python and tell its state besides, on a machine that may be busy.
_GONE_SECONDS = 90.0


@pytest.fixture(scope="module")
def before(up: Up) -> str:
    """Digest of the LoRA that an undisturbed run made; later runs train it again, with states written seldom.

    Its second epoch is so long that a quick machine is still in it when the run is asked to end.
    """
    preset = up.project.folder / "recipes/default.toml"
    text = preset.read_text().replace("checkpoint_minutes = 0.02", "checkpoint_minutes = 60")
    others, section, stage_3 = text.partition("[character_training]")
    preset.write_text(others + section + stage_3.replace("repeats = 1\n", "repeats = 40\n", 1))
    up.state(up.submit("train-character", character="momo"), "Completed")
    return file_digest(_lora(up))


def _lora(up: Up) -> Path:
    return up.project.folder / "out/momo/momo.safetensors"


def _in_training(up: Up) -> tuple[str, psutil.Process]:
    """A run in the second epoch of stage 3, and its process; the published LoRA is taken away."""
    run = up.caught_in_training("momo")
    _lora(up).unlink(missing_ok=True)
    return run, psutil.Process(int(wait_for(lambda: up.run(run)["infrastructure_pid"], "the run's process")))


def _saved_step(up: Up, said: str) -> None:
    """The state on disk is that of the step that was named, which is a whole number of steps after the last epoch."""
    named = re.search(r"step (\d+) of (\d+)", said)
    assert named, said
    states = [*up.project.folder.glob(".headcanon/work/*/state.safetensors")]
    newest = max(states, key=lambda path: path.stat().st_mtime_ns)
    position = read_position(newest)
    assert position is not None
    assert position.step == int(named[1]) <= int(named[2])


def _gone(process: psutil.Process) -> None:
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "its end", _GONE_SECONDS)


def _pause(up: Up, run: str) -> None:
    """What the UI's Pause sends."""
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    details: dict[str, Any] = {"pause_timeout": until, "pause_reschedule": True}
    state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
    assert up.post(f"flow_runs/{run}/set_state", state=state, force=True)["status"] == "ACCEPT"


def _steps_running(up: Up, run: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = up.post("task_runs/filter", flow_runs={"id": {"any_": [run]}})
    return [step for step in steps if step["state_type"] in ("RUNNING", "PENDING")]


def test_pause_saves_the_step_frees_the_process_and_resume_ends_with_the_same_bytes(up: Up, before: str) -> None:
    run, process = _in_training(up)
    _pause(up, run)
    _gone(process)
    assert up.run(run)["state_name"] == "Suspended"
    _saved_step(up, up.worker_log())
    wait_for(lambda: not _steps_running(up, run), "the end of its steps at the server")
    shown = up.project.run("status", ".", "--api", up.api).stdout
    assert re.search(r"momo\s+Paused.*paused by hand; Resume goes on", shown), shown
    assert up.post(f"flow_runs/{run}/resume")["status"] == "ACCEPT"
    up.state(run, "Completed")
    assert file_digest(_lora(up)) == before


def test_cancel_saves_first_and_retry_ends_with_the_same_bytes(up: Up, before: str) -> None:
    run, process = _in_training(up)
    up.post(f"flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"}, force=True)
    cancelled = up.state(run, "Cancelled")
    _gone(process)
    _saved_step(up, cancelled["state"]["message"])
    _retried(up, run, "Cancelled")
    assert file_digest(_lora(up)) == before


def test_a_worker_that_is_told_to_end_lets_its_runs_save_and_they_are_crashed_and_retried(up: Up, before: str) -> None:
    run, process = _in_training(up)
    worker = process.parent()
    assert worker is not None
    os.kill(worker.pid, signal.SIGTERM)
    crashed = up.state(run, "Crashed")
    _gone(process)
    _saved_step(up, crashed["state"]["message"])
    assert "Retry resumes" in crashed["state"]["message"]
    wait_for(lambda: "the worker had ended and was started again" in up.said.read_text(), "a new worker")
    _retried(up, run, "Crashed")
    assert file_digest(_lora(up)) == before


def _retried(up: Up, run: str, was: str) -> None:
    """As the UI's Retry does."""
    assert up.run(run)["state_name"] == was
    up.post(f"flow_runs/{run}/set_state", state={"type": "SCHEDULED", "name": "AwaitingRetry"}, force=True)
    wait_for(lambda: up.run(run)["state_name"] == "Completed", f"the retried run to end: {json.dumps(up.run(run))}")
