"""Mistakes in Prefect's UI: one line in the state, and one line in Logs, the tab that opens; read from the server."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import wait_for
from small_home import new_home

pytestmark = pytest.mark.long

_MISTAKES: dict[str, tuple[str, str]] = {
    "a character without a folder": ("train_character(character='nobody', return_state=True)", "no such folder"),
    "a name that is too long": ("train_character(character='x' * 5000, return_state=True)", "character"),
    "a folder outside": ("train_character(character='x', folder='../..', return_state=True)", "may touch"),
    "a picture that is none": ("train_character(character='momo', return_state=True)", "not a picture, whatever"),
    "rates that the optimizer does not take": (
        "train_character_full(name='momo', base={'model': 'x'}, style={'images': 'x'}, character={'images': 'x'}, "
        "style_training={'optimizer': 'prodigy'}, return_state=True)",
        "style_training: prodigy finds one rate",
    ),
    "a preset that is not there": ("prepare_style(preset='none', return_state=True)", "none"),
    "a cast of a preset that is not there": ("train_cast(preset='none', return_state=True)", "none"),
    "less than no minutes": ("watch_inbox(quiet_minutes=-1, return_state=True)", "quiet_minutes"),
    "less patience than runs need": ("janitor(silent_seconds=1, return_state=True)", "silent_seconds"),
}
_RUN = """
import json, sys
import flows.cli
from flows.janitor import janitor
from flows.prepare_style import prepare_style
from flows.train_cast import train_cast
from flows.train_character import train_character
from flows.train_character_full import train_character_full
from flows.watch_inbox import watch_inbox

found = {}
for name, (call, _) in json.loads(sys.argv[1]).items():
    state = eval(call)
    found[name] = (str(state.state_details.flow_run_id), state.name, state.message)
import flows.train_character
def broken(*_): raise ZeroDivisionError("a fault of ours")
flows.train_character.recipe_of = broken
state = train_character(character="momo", return_state=True)
found["ours"] = (str(state.state_details.flow_run_id), state.name, state.message)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, drawn: Path, api: str) -> dict[str, Any]:
    """Every mistake once: the run's id, the name of its state and the state's message."""
    folder = tmp_path_factory.mktemp("mistakes")
    project = new_home(folder / "home", drawn, folder / "prefect")
    (project.folder / "characters/momo/broken.png").write_text("no picture")
    where = {**project.environment(), "PREFECT_API_URL": api, "HEADCANON_HOME": str(project.folder)}
    command = [sys.executable, "-c", _RUN, json.dumps(_MISTAKES)]
    done = subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _logs(api: str, run: str) -> list[str]:
    """Once its end is there."""

    def look() -> list[str] | None:
        asked = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        found = httpx.post(f"{api}/logs/filter", json=asked, timeout=60).json()
        failed = any(one["level"] >= logging.ERROR for one in found)
        return [one["message"] for one in found] if failed else None

    found: list[str] = wait_for(look, f"the logs of {run}")
    return found


@pytest.mark.parametrize("name", _MISTAKES)
def test_a_mistake_is_one_line_in_the_state_and_one_in_logs(api: str, ended: dict[str, Any], name: str) -> None:
    run, state, message = ended[name]
    assert state == "Failed"
    assert _MISTAKES[name][1] in message
    assert "\n" not in message
    assert len(message) < 1000
    logs = _logs(api, run)
    assert [line for line in logs if "\n" in line or "Traceback" in line] == []
    assert logs.count(message) == 1
    assert sum(message in line for line in logs) == 1


def test_a_fault_of_ours_keeps_its_traceback_in_logs_once_under_a_line_that_says_what_it_is(
    api: str, ended: dict[str, Any]
) -> None:
    run, state, _ = ended["ours"]
    assert state == "Failed"
    (told,) = (line for line in _logs(api, run) if "Traceback" in line)
    assert told.splitlines()[0] == "ZeroDivisionError: a fault of ours"
    assert 'raise ZeroDivisionError("a fault of ours")' in told or "in broken" in told
