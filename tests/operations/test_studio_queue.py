"""The studio's queue, and who may start a run of a character, against a real server without a worker."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, StateDetails, StateType
from prefect.input.run_input import keyset_from_base_key
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Running
from prefect_server import prefect_server
from running import wait_for
from small_home import new_home
from starlette.testclient import TestClient

from flows.asking import EpochAnswer
from flows.deploy import POOL, put_in_place, start_character
from flows.runs import RunError, act, in_order, latest
from flows.studio.app import studio
from flows.watch_inbox import watch_inbox

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; all deployments are there, and nobody takes their runs."""
    with prefect_server(tmp_path_factory.mktemp("server")) as address, temporary_settings({PREFECT_API_URL: address}):
        with get_client(sync_client=True) as client:
            put_in_place(client)
        yield address


@pytest.fixture
def client(server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client
        for run in latest(client):
            if run.is_open:
                act(client, run.id, "cancel", {})


def _start(client: SyncPrefectClient, name: str) -> str:
    return str(start_character(client, {"character": name}, f"test:{uuid4()}", "test").id)


def _handed_out(server: str) -> list[str]:
    """The runs in the order in which a worker gets them."""
    answer = httpx.post(f"{server}/work_pools/{POOL}/get_scheduled_flow_runs", json={}, timeout=60)
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return [each["flow_run"]["name"] for each in found if "character" in each["flow_run"]["parameters"]]


def _shown(client: SyncPrefectClient) -> list[str]:
    return [run.name for run in in_order(latest(client))]


def test_waiting_runs_change_places_and_a_worker_gets_them_in_the_order_that_the_page_shows(
    server: str, client: SyncPrefectClient
) -> None:
    ids = {name: _start(client, name) for name in ("aiko", "momo", "mira", "rin")}
    assert _handed_out(server) == _shown(client) == ["aiko", "momo", "mira", "rin"]
    act(client, ids["rin"], "earlier", {})
    assert _handed_out(server) == _shown(client) == ["aiko", "momo", "rin", "mira"]
    act(client, ids["rin"], "earlier", {})
    act(client, ids["rin"], "earlier", {})
    assert _handed_out(server) == _shown(client) == ["rin", "aiko", "momo", "mira"]
    act(client, ids["aiko"], "later", {})
    act(client, ids["aiko"], "later", {})
    assert _handed_out(server) == _shown(client) == ["rin", "momo", "mira", "aiko"]
    for name, action in (("rin", "earlier"), ("aiko", "later")):
        with pytest.raises(RunError, match="it is the"):
            act(client, ids[name], action, {})


def test_a_run_that_is_held_is_not_handed_out_until_it_is_resumed_and_a_dropped_one_never(
    server: str, client: SyncPrefectClient
) -> None:
    ids = {name: _start(client, name) for name in ("aiko", "momo")}
    act(client, ids["aiko"], "pause", {})
    assert _handed_out(server) == ["momo"]
    assert {run.name: run.state for run in in_order(latest(client))} == {"aiko": "Paused", "momo": "Waiting"}
    act(client, ids["momo"], "cancel", {})
    assert _handed_out(server) == []
    act(client, ids["aiko"], "resume", {})
    assert _handed_out(server) == ["aiko"]


def test_a_character_has_one_open_run_whoever_starts_the_next(
    server: str, client: SyncPrefectClient, tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home(tmp_path / "home", drawn, tmp_path / "prefect").folder
    monkeypatch.setenv("HEADCANON_HOME", str(home))
    first = _start(client, "momo")
    assert _start(client, "momo") == first
    assert str(start_character(client, {"character": "momo"}, "cast:1", "cast").id) == first
    watch_inbox.fn(quiet_minutes=0)
    assert watch_inbox.fn(quiet_minutes=0) == 0, "its new pictures wait, however long they rest"
    assert [run.id for run in latest(client) if run.is_open] == [first]
    act(client, first, "cancel", {})
    assert watch_inbox.fn(quiet_minutes=0) == 1
    (second,) = [run for run in latest(client) if run.is_open]
    picture = next((home / "characters/momo").glob("*.png"))
    shutil.copy(picture, picture.with_name("portrait_again.png"))
    watch_inbox.fn(quiet_minutes=0)
    assert watch_inbox.fn(quiet_minutes=0) == 0
    assert [run.id for run in latest(client) if run.is_open] == [second.id]
    for state in (Running(), Completed()):
        client.set_flow_run_state(UUID(second.id), state, force=True)
    assert watch_inbox.fn(quiet_minutes=0) == 0, "that run began after the last picture came, and has read it"
    assert watch_inbox.fn(quiet_minutes=0) == 0
    picture.with_name("portrait_again.png").unlink()
    watch_inbox.fn(quiet_minutes=0)
    assert [run.name for run in latest(client) if run.is_open] == ["momo"], "what was removed since, none has read"


def test_an_answer_on_the_page_is_taken_as_the_form_means_it_and_a_wrong_one_is_refused_in_a_line(
    server: str, client: SyncPrefectClient, tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADCANON_HOME", str(new_home(tmp_path / "home", drawn, tmp_path / "prefect").folder))
    run, keys = UUID(_start(client, "momo")), keyset_from_base_key("gate-epoch")
    for key, value in (("schema", EpochAnswer.model_json_schema()), ("description", "- epoch 1 &lt; 2")):
        client.create_flow_run_input(run, keys[key], json.dumps(value) if key == "schema" else value)  # type: ignore[literal-required]
    details = StateDetails(run_input_keyset=keys, pause_reschedule=True, pause_timeout=datetime.now(UTC) + timedelta(1))
    client.set_flow_run_state(run, State(type=StateType.PAUSED, name="Suspended", state_details=details), force=True)
    visitor, url = TestClient(studio(server)), f"/studio/r/{run}"
    shown = visitor.get(url).text
    for told in (
        "epoch 1 &lt; 2",
        '<option value="abort">abort</option>',
        'name="epoch" type="number"',
        "0: as proposed.",
    ):
        assert told in shown
    page = {"x-headcanon": "page"}
    refused = visitor.post(f"{url}/resume", json={"decision": "continue", "epoch": "two"}, headers=page)
    assert refused.status_code == 400
    assert "two" in refused.json()["error"]
    assert client.read_flow_run(run).state_name == "Suspended"
    assert [(each.state, each.doing) for each in latest(client) if each.is_open] == [
        ("Question", "waits for your answer")
    ]
    answer = {"decision": "continue", "epoch": 2, "weight": ""}
    assert visitor.post(f"{url}/resume", json=answer, headers=page).status_code == 200
    assert client.read_flow_run(run).state_type == StateType.SCHEDULED
    assert json.loads(client.read_flow_run_input(run, keys["response"])) == {"decision": "continue", "epoch": 2}


def test_what_the_page_offers_for_a_run_of_a_terminal_is_what_it_can_do(
    server: str, client: SyncPrefectClient, tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADCANON_HOME", str(new_home(tmp_path / "home", drawn, tmp_path / "prefect").folder))
    at_terminal = Flow(lambda: None, name="headcanon")
    run = client.create_flow_run(at_terminal, state=Running())
    visitor, url = TestClient(studio(server)), f"/studio/r/{run.id}"
    shown = visitor.get(url).text
    assert "What it has done is saved; the same command goes on from there." in shown
    assert "Retry" not in shown
    assert "/pause" not in shown
    client.set_flow_run_state(run.id, Failed(message="no disk"), force=True)
    shown = visitor.get(url).text
    assert "no disk" in shown
    assert "/retry" not in shown


def test_a_run_s_page_does_not_wait_for_pictures_that_are_being_tagged_and_then_has_its_lanes(
    server: str, client: SyncPrefectClient, tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADCANON_HOME", str(new_home(tmp_path / "home", drawn, tmp_path / "prefect").folder))
    page, url = studio(server), f"/studio/r/{_start(client, 'momo')}"
    tagging = page.state.helper.begin("sheet", "momo", "default")
    shown = TestClient(page).get(url)
    assert not tagging.done()
    assert shown.status_code == 200
    assert 'class="lane"' not in shown.text
    assert "What a run would do" in tagging.result()
    wait_for(lambda: 'class="lane"' in TestClient(page).get(url).text, "the lanes")
