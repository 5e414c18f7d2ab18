"""The studio's queue, and who may start a run of a character, against a real server without a worker."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running
from prefect_server import prefect_server
from small_home import new_home

from flows.deploy import POOL, put_in_place, start_character
from flows.runs import RunError, in_order
from flows.studio.runs import Runs
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
def runs(server: str) -> Iterator[Runs]:
    runs = Runs(server)
    yield runs
    for run in runs.latest():
        if run.is_open:
            runs.act(run.id, "cancel", {})


def _handed_out(server: str) -> list[str]:
    """The runs in the order in which a worker gets them."""
    answer = httpx.post(f"{server}/work_pools/{POOL}/get_scheduled_flow_runs", json={}, timeout=60)
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return [each["flow_run"]["name"] for each in found if "character" in each["flow_run"]["parameters"]]


def _shown(runs: Runs) -> list[str]:
    return [run.name for run in in_order(runs.latest())]


def test_waiting_runs_change_places_and_a_worker_gets_them_in_the_order_that_the_page_shows(
    server: str, runs: Runs
) -> None:
    ids = {name: runs.start({"character": name}) for name in ("aiko", "momo", "mira", "rin")}
    assert _handed_out(server) == _shown(runs) == ["aiko", "momo", "mira", "rin"]
    runs.act(ids["rin"], "earlier", {})
    assert _handed_out(server) == _shown(runs) == ["aiko", "momo", "rin", "mira"]
    runs.act(ids["rin"], "earlier", {})
    runs.act(ids["rin"], "earlier", {})
    assert _handed_out(server) == _shown(runs) == ["rin", "aiko", "momo", "mira"]
    runs.act(ids["aiko"], "later", {})
    runs.act(ids["aiko"], "later", {})
    assert _handed_out(server) == _shown(runs) == ["rin", "momo", "mira", "aiko"]
    for name, action in (("rin", "earlier"), ("aiko", "later")):
        with pytest.raises(RunError, match="it is the"):
            runs.act(ids[name], action, {})


def test_a_run_that_is_held_is_not_handed_out_until_it_is_resumed_and_a_dropped_one_never(
    server: str, runs: Runs
) -> None:
    ids = {name: runs.start({"character": name}) for name in ("aiko", "momo")}
    runs.act(ids["aiko"], "pause", {})
    assert _handed_out(server) == ["momo"]
    assert {run.name: run.state for run in in_order(runs.latest())} == {"aiko": "Paused", "momo": "Waiting"}
    runs.act(ids["momo"], "cancel", {})
    assert _handed_out(server) == []
    runs.act(ids["aiko"], "resume", {})
    assert _handed_out(server) == ["aiko"]


def test_a_character_has_one_open_run_whoever_starts_the_next(
    server: str, runs: Runs, tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home(tmp_path / "home", drawn, tmp_path / "prefect").folder
    monkeypatch.setenv("HEADCANON_HOME", str(home))
    first = runs.start({"character": "momo"})
    assert runs.start({"character": "momo", "preset": "default"}) == first
    assert str(start_character({"character": "momo"}, "cast:1", "cast").id) == first
    watch_inbox.fn(quiet_minutes=0)
    assert watch_inbox.fn(quiet_minutes=0) == 0, "its new pictures wait, however long they rest"
    assert [run.id for run in runs.of("momo") if run.is_open] == [first]
    runs.act(first, "cancel", {})
    assert watch_inbox.fn(quiet_minutes=0) == 1
    (second,) = [run for run in runs.of("momo") if run.is_open]
    picture = next((home / "characters/momo").glob("*.png"))
    shutil.copy(picture, picture.with_name("portrait_again.png"))
    watch_inbox.fn(quiet_minutes=0)
    assert watch_inbox.fn(quiet_minutes=0) == 0
    assert [run.id for run in runs.of("momo") if run.is_open] == [second.id]
    with get_client(sync_client=True) as client:
        for state in (Running(), Completed()):
            client.set_flow_run_state(UUID(second.id), state, force=True)
    assert watch_inbox.fn(quiet_minutes=0) == 0, "that run began after the last picture came, and has read it"
    assert watch_inbox.fn(quiet_minutes=0) == 0
    picture.with_name("portrait_again.png").unlink()
    watch_inbox.fn(quiet_minutes=0)
    assert [run.name for run in runs.of("momo") if run.is_open] == ["momo"], "what was removed since, none has read"
