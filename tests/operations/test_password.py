"""With a password set: who knows it may start our flows, and still gets no command onto a worker."""

import base64
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.serializers import PickleSerializer
from running import Up, started, wait_for
from small_home import new_home

from flows.deploy import TEMPLATE

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.door]

_PASSWORD = "somebody:a long word"
_OPEN_TEMPLATE = {
    "job_configuration": {"command": "{{ command }}", "env": "{{ env }}", "working_dir": "{{ working_dir }}"},
    "variables": {
        "type": "object",
        "properties": {"command": {"type": "string"}, "env": {"type": "object"}, "working_dir": {"type": "string"}},
    },
}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("locked")
    with started(new_home(folder / "home", drawn, folder / "prefect"), password=_PASSWORD) as running:
        yield running


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there as soon as somebody's command has run."""
    return tmp_path / "ran"


def _ours(up: Up) -> dict[str, Any]:
    found: dict[str, Any] = up.ask("GET", "deployments/name/train-character/train-character")
    return found


def _start(up: Up, deployment: str, **said: Any) -> httpx.Response:
    path, body = f"deployments/{deployment}/create_flow_run", {"parameters": {"character": "nobody"}, **said}
    with up.client() as client:
        answer = client.post(path, json=body)
    return _start(up, deployment, **said) if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer


def _ended(up: Up, answer: httpx.Response) -> str:
    run = up.state(answer.raise_for_status().json()["id"], "Failed")
    return str(run["state"]["message"])


def test_without_the_password_nothing_is_answered(locked: Up) -> None:
    for headers in ({}, {"Authorization": "Basic " + base64.b64encode(b"somebody:else").decode()}):
        assert httpx.post(f"{locked.api}/flows/count", headers=headers).status_code in (401, 403)
        assert httpx.get(f"{locked.api}/csrf-token?client=x", headers=headers).status_code == 401
        assert httpx.get(f"{locked.api}/work_pools/headcanon", headers=headers).status_code == 401


@pytest.mark.parametrize("variable", ["command", "env", "working_dir", "image", "volumes"])
def test_a_run_cannot_name_a_command(locked: Up, variable: str) -> None:
    answer = _start(locked, _ours(locked)["id"], job_variables={variable: "id"})
    assert answer.status_code == 422
    assert f"'{variable}' was unexpected" in answer.text


def test_nor_can_it_once_somebody_has_opened_the_pool_and_a_new_start_closes_it(locked: Up, mark: Path) -> None:
    ours = _ours(locked)
    locked.ask("PATCH", "work_pools/headcanon", base_job_template=_OPEN_TEMPLATE)
    asked = _start(locked, ours["id"], job_variables={"command": f"touch {mark}"})
    message = _ended(locked, asked)
    assert message.startswith("refused: the run sets job variables (command);")
    locked.ask("PATCH", f"deployments/{ours['id']}", job_variables={"command": f"touch {mark}"})
    message = _ended(locked, _start(locked, ours["id"]))
    assert message.startswith("refused: the deployment sets job variables (command);")
    assert locked.stop() == 0
    locked.start()
    assert locked.ask("GET", "work_pools/headcanon")["base_job_template"] == TEMPLATE
    message = _ended(locked, _start(locked, ours["id"]))
    assert "there is no such folder" in message  # our own flow said that
    assert not mark.exists()


def test_nor_can_a_pool_s_own_default(locked: Up, mark: Path) -> None:
    properties = {"command": {"type": "string", "default": f"touch {mark}"}}
    variables = {"type": "object", "properties": properties}
    template = {"job_configuration": {"command": "{{ command }}"}, "variables": variables}
    locked.ask("PATCH", "work_pools/headcanon", base_job_template=template)
    message = _ended(locked, _start(locked, _ours(locked)["id"]))
    assert "there is no such folder" in message
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "touch MARK"}}]}, "has pull steps"),
        ({"entrypoint": "MARK.py:flow"}, "entry point is"),
        ({"path": "/tmp"}, "takes its code from '/tmp'"),
    ],
)
def test_nor_can_a_changed_deployment(locked: Up, mark: Path, change: dict[str, Any], told: str) -> None:
    ours = _ours(locked)
    there = json.loads(json.dumps(change).replace("MARK", str(mark)))
    locked.ask("PATCH", f"deployments/{ours['id']}", **there)
    try:
        message = _ended(locked, _start(locked, ours["id"]))
    finally:
        locked.ask("PATCH", f"deployments/{ours['id']}", **{key: ours[key] for key in change})
    assert message.startswith("refused: ")
    assert told in message
    assert "\n" not in message
    assert not mark.exists()


def test_nor_can_another_deployment_or_a_run_of_none(locked: Up, mark: Path) -> None:
    flow = locked.post("flows/", name="theirs")["id"]
    entrypoint = f"{mark}.py:flow"
    with locked.client() as client:
        body = {"flow_id": flow, "name": "theirs", "entrypoint": entrypoint, "work_pool_name": "headcanon"}
        theirs = client.post("deployments/", json=body).raise_for_status().json()["id"]
        message = _ended(locked, _start(locked, theirs))
        assert message.startswith("refused: theirs/theirs is no deployment of headcanon's")
        body = {"flow_id": flow, "work_pool_name": "headcanon", "state": {"type": "SCHEDULED"}}
        message = _ended(locked, client.post("flow_runs/", json=body))
        assert message.startswith("refused: the run is of no deployment")


def test_nor_can_a_form_leave_the_worker_s_folders_by_another_spelling(locked: Up) -> None:
    ours = _ours(locked)
    locked.ask("PATCH", f"deployments/{ours['id']}", enforce_parameter_schema=False)
    try:
        locked.post("variables/", name="outside", value="/etc")
        for folder in (
            "/etc",
            {"__prefect_kind": "json", "value": '"/etc"'},
            {"__prefect_kind": "workspace_variable", "variable_name": "outside"},
            {"__prefect_kind": "jinja", "template": "/e{{ 't' }}c"},
        ):
            said = _start(locked, ours["id"], parameters={"character": "momo", "folder": folder})
            message = _ended(locked, said)
            assert message.startswith("folder '/etc': outside of the folders that this worker may touch")
        block = _start(locked, ours["id"], parameters={"character": {"$ref": {"block_document_id": ours["id"]}}})
        assert _ended(locked, block).startswith("refused: a parameter refers to a block")
        unknown = _start(locked, ours["id"], parameters={"character": "momo", "command": "id"})
        assert _ended(locked, unknown).startswith("refused: command: unknown or missing")
    finally:
        locked.ask("PATCH", f"deployments/{ours['id']}", enforce_parameter_schema=True)


class _Touch:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nor_can_a_state_that_says_what_it_came_to(locked: Up, mark: Path, tmp_path: Path) -> None:
    """A run's state may name a block, a file in it, and pickle; Prefect's own engine reads that."""
    run = _start(locked, _ours(locked)["id"]).raise_for_status().json()["id"]
    locked.state(run, "Failed")
    with locked.client() as client:
        kind = client.get("block_types/slug/local-file-system").json()["id"]
        schemas = client.post("block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [kind]}}})
        body = {"name": "theirs", "data": {"basepath": str(tmp_path)}, "block_type_id": kind}
        body["block_schema_id"] = schemas.raise_for_status().json()[0]["id"]
        block = client.post("block_documents/", json=body).raise_for_status().json()["id"]
        record = {
            "storage_key": "record", "expiration": None, "serializer": {"type": "pickle"}, "prefect_version": "3.8.8",
            "storage_block_id": block,
        }  # fmt: skip
        pickled = base64.encodebytes(pickle.dumps(_Touch(mark))).decode()
        (tmp_path / "record").write_text(json.dumps({"metadata": record, "result": pickled}))
        state = {"type": "COMPLETED", "data": record}
        client.post(f"flow_runs/{run}/set_state", json={"state": state, "force": True}).raise_for_status()
    environment = {
        **locked.project.environment(), "PREFECT__FLOW_RUN_ID": run, "PREFECT_API_URL": locked.api,
        "PREFECT_API_AUTH_STRING": _PASSWORD, "HEADCANON_HOME": str(locked.project.folder),
    }  # fmt: skip
    command = [sys.executable, "-m", "flows.engine"]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
    PickleSerializer().loads(pickled.encode())
    assert mark.exists()  # so it would have been seen


def test_our_own_commands_still_have_their_way(locked: Up) -> None:
    environment = {
        **locked.project.environment(), "PREFECT_API_URL": locked.api, "PREFECT_API_AUTH_STRING": _PASSWORD,
    }  # fmt: skip

    def said(*command: str) -> str:
        done = subprocess.run(
            command, env=environment, cwd=locked.project.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "momo" in said(*locked.project.command("status", "."))
    prefect = (sys.executable, "-m", "prefect")
    assert "headcanon" in said(*prefect, "work-pool", "ls")
    started_run = said(*prefect, "deployment", "run", "train-character/train-character", "-p", "character=nobody")
    assert "Created flow run" in started_run
    wait_for(lambda: locked.post("flow_runs/filter", limit=1, sort="START_TIME_DESC"), "a run at the server")
