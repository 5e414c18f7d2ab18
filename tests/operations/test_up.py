"""`headcanon up` for real: forms start runs, runs that lose their process go on, Ctrl-C ends everything."""

import inspect
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from fake_hub import running_hub
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings
from running import Up, wait_for

from flows.janitor import janitor
from flows.place import AllowedFolders
from flows.request import recipe_of
from flows.watch_inbox import watch_inbox
from lora_core.refs import ReportRef
from lora_core.store.digests import file_digest
from tasks.publish import push
from tasks.runtime import RunContext

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.door]

_LONG = ("preprocess character", "tag character", "train style", "merge", "train character", "sample", "judge")


@pytest.fixture(scope="module")
def finished(up: Up) -> Path:
    """The folder of a LoRA that the short form made."""
    run = up.submit("train-character", character="momo")
    up.state(run, "Completed")
    return up.project.folder / "out" / "momo"


@pytest.fixture
def on_server(up: Up) -> Iterator[None]:
    """Flows that the test itself calls talk to this server."""
    with temporary_settings({PREFECT_API_URL: up.api}):
        yield


def _process(up: Up, run: str) -> int:
    return int(wait_for(lambda: up.run(run)["infrastructure_pid"], "the run's process"))


def test_the_short_form_makes_a_lora_and_says_what_was_done(up: Up, finished: Path) -> None:
    assert (finished / "momo.safetensors").is_file()
    assert (finished / "report.html").is_file()
    (run,) = up.post("flow_runs/filter", flow_runs={"name": {"any_": ["momo"]}})
    assert up.steps(run["id"], *_LONG, "publish")
    assert up.told("published", "momo")["message"] == str(finished)


def test_the_same_form_again_finds_every_step_cached_and_publishes_nothing_new(up: Up, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.parent.rglob("*") if path.is_file()}
    run = up.submit("train-character", character="momo")
    up.state(run, "Completed")
    assert {state for name, states in up.steps(run, *_LONG).items() if name in _LONG for state in states} == {"Cached"}
    written = {
        path for path in finished.parent.rglob("*") if path.is_file() and before.get(path) != path.stat().st_mtime_ns
    }
    assert {path.name for path in written} <= {".inputs", "report.html", "report.json"}


def _logs(up: Up, run: str) -> list[str]:
    """What the UI's tab Logs shows of a run that has failed."""

    def look() -> list[str] | None:
        found = up.post("logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC")
        failed = any(one["level"] >= logging.ERROR for one in found)
        return [one["message"] for one in found] if failed else None

    lines: list[str] = wait_for(look, f"the logs of {run}")
    return lines


def test_a_mistake_is_one_line_in_the_ui_its_logs_too_and_no_traceback(up: Up) -> None:
    run = up.state(up.submit("train-character", character="nobody"), "Failed")
    message = run["state"]["message"]
    assert "nobody: there is no such folder" in message
    logs = _logs(up, run["id"])
    assert sum(message in line for line in logs) == 1, logs
    assert not [line for line in logs if "Traceback" in line or "\n" in line]
    assert "no such folder" in up.told("Failed", "nobody")["message"]
    outside = up.state(up.submit("train-character", character="x", folder="../../etc"), "Failed")
    assert "outside of the folders that this worker may touch" in outside["state"]["message"]


def test_other_options_make_a_second_version_beside_the_first(up: Up, finished: Path) -> None:
    before = file_digest(finished / "momo.safetensors")
    preset = up.project.folder / "recipes" / "default.toml"
    up.add_preset("more", preset.read_text().replace("seeds = [1]", "seeds = [2]"))
    up.state(up.submit("train-character", character="momo", preset="more"), "Completed")
    assert (finished.parent / "momo-v2" / "momo-v2.safetensors").is_file()
    assert file_digest(finished / "momo.safetensors") == before


def test_a_run_killed_in_training_is_crashed_and_retry_ends_with_the_same_bytes(up: Up, finished: Path) -> None:
    before = file_digest(finished / "momo.safetensors")
    run = up.caught_in_training("momo")
    (finished / "momo.safetensors").unlink()
    os.kill(_process(up, run), signal.SIGKILL)
    up.state(run, "Crashed")
    up.retry(run)
    up.state(run, "Completed")
    assert up.steps(run, "train style", "publish")["train style"][-1] == "Cached"
    assert file_digest(finished / "momo.safetensors") == before


def test_a_run_goes_on_when_the_server_is_killed_and_started_again(up: Up, finished: Path) -> None:
    before = file_digest(finished / "momo.safetensors")
    run = up.caught_in_training("momo")
    (finished / "momo.safetensors").unlink()
    _server(up).kill()
    wait_for(lambda: "the server had ended and was started again" in up.said.read_text(), "the server's new start")
    up.state(run, "Completed")
    assert up.run(run)["run_count"] == 1
    assert file_digest(finished / "momo.safetensors") == before


def _server(up: Up) -> psutil.Process:
    assert up.process is not None
    children = psutil.Process(up.process.pid).children()
    return next(child for child in children if "server" in child.cmdline())


@pytest.mark.usefixtures("on_server")
def test_a_run_that_lost_its_worker_with_it_is_found_by_the_janitor(up: Up, finished: Path) -> None:
    before = file_digest(finished / "momo.safetensors")
    run = up.caught_in_training("momo")
    (finished / "momo.safetensors").unlink()
    pid = _process(up, run)
    os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    time.sleep(4)
    assert up.run(run)["state_name"] == "Running"  # nobody noticed
    look = inspect.unwrap(janitor.fn)  # more impatient than a form may make it
    assert look(silent_seconds=3600) == 0
    assert look(silent_seconds=3, retries=1) == 1
    wait_for(lambda: up.run(run)["state_name"] == "Completed", "the retried run to end")
    assert file_digest(finished / "momo.safetensors") == before
    assert "the worker had ended and was started again" in up.said.read_text()


@pytest.mark.usefixtures("on_server")
def test_a_run_that_waits_for_a_person_is_left_alone_and_goes_on_when_answered(up: Up, finished: Path) -> None:
    preset = up.project.folder / "recipes" / "default.toml"
    up.add_preset("ask", preset.read_text().replace("[gates]", '[gates]\ncaptions = "ask"'))
    run = up.submit("train-character", character="momo", preset="ask")
    up.state(run, "Suspended")
    assert up.told("Suspended", "momo")["text"].startswith("headcanon: momo Suspended")
    pid = _process(up, run)
    wait_for(lambda: not psutil.pid_exists(pid), "the suspended run's process to end")
    assert inspect.unwrap(janitor.fn)(silent_seconds=0) == 0
    up.post(f"flow_runs/{run}/resume", run_input={"decision": "continue"})
    wait_for(lambda: up.run(run)["state_name"] == "Completed", "the resumed run to end")
    assert up.steps(run, "tag character", "publish")["tag character"][-1] == "Cached"


@pytest.mark.usefixtures("on_server")
def test_new_screenshots_start_one_run_and_nothing_else_does(
    up: Up, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADCANON_HOME", str(up.project.folder))
    assert watch_inbox.fn(quiet_minutes=0) == 0  # the folder is new to it, but a run has read it as it is
    before = _runs(up)
    assert watch_inbox.fn(quiet_minutes=0) == 0
    picture = next((up.project.folder / "characters/momo").glob("portrait*.png"))
    shutil.copy(picture, picture.with_name("portrait_again.png"))
    assert watch_inbox.fn(quiet_minutes=0) == 1
    assert watch_inbox.fn(quiet_minutes=0) == 0
    (run,) = _runs(up) - before
    assert up.run(run)["parameters"]["character"] == "momo"
    assert up.run(run)["idempotency_key"].startswith("inbox:momo:2:")
    wait_for(lambda: up.run(run)["state_name"] == "Completed", "the run for the new screenshots")


@pytest.mark.usefixtures("on_server")
def test_the_hubs_token_comes_from_a_secret_block_and_is_nowhere_else(
    up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    at = RunContext(store=str(tmp_path / "store"))
    lora = tmp_path / "momo.safetensors"
    lora.write_bytes(b"weights")
    files = ReportRef(sha256=at.open_store().put_tree({lora.name: lora}))
    recipe = recipe_of(AllowedFolders(home=str(up.project.folder)), "momo")
    to_hub = recipe.publish.model_copy(update={"repository": "me/momo", "token_block": "hub-token"})
    Secret(value="hf_in_a_block").save("hub-token", overwrite=True)
    with running_hub("hf_in_a_block") as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", hub.address)
        push(recipe.model_copy(update={"publish": to_hub}), files, at)
    assert hub.files == {"me/momo": {"momo.safetensors": b"weights"}}
    assert set(hub.tokens) == {"Bearer hf_in_a_block"}
    assert "hf_in_a_block" not in "".join(capsys.readouterr())
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file() and b"hf_in" in path.read_bytes()]


def _runs(up: Up) -> set[str]:
    return {run["id"] for run in up.post("flow_runs/filter", flows={"name": {"any_": ["train-character"]}})}


def test_ctrl_c_ends_everything_and_a_second_start_finds_everything_in_place(up: Up, finished: Path) -> None:
    assert up.process is not None
    deployments = {one["name"]: one["id"] for one in up.post("deployments/filter")}
    up.ask("PATCH", f"deployments/{deployments['watch-inbox']}", paused=True)
    run = up.caught_in_training("momo")
    everything = psutil.Process(up.process.pid).children(recursive=True)
    assert up.stop() == 0
    assert not [process for process in everything if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{up.api}/health")
    up.start()
    assert up.run(run)["state_name"] == "Crashed"
    after = up.post("deployments/filter")
    assert {one["name"]: one["id"] for one in after} == deployments
    assert {one["name"] for one in after if one["paused"]} == {"watch-inbox"}  # as a person set it
    up.retry(run)
    wait_for(lambda: up.run(run)["state_name"] == "Completed", "the retried run to end")
    assert json.loads((finished / "report.json").read_text())


def test_nothing_is_left_behind_when_up_itself_is_killed(up: Up) -> None:
    assert up.process is not None
    everything = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()
    up.process.wait()
    gone, alive = psutil.wait_procs(everything, timeout=60)
    assert not alive
    assert len(gone) >= 2
