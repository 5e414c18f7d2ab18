"""What the janitor deletes on a real server: old looks, and nothing that a person looks for."""

from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deploy import put_in_place
from flows.janitor import forget_old_runs
from flows.schedules import silences, watched

pytestmark = [pytest.mark.slow, pytest.mark.long]


def _ended(client: SyncPrefectClient, name: str) -> str:
    """The id of a run of a deployment that has just ended."""
    deployment = client.read_deployment_by_name(f"{name}/{name}")
    parameters = {"character": "momo"} if name == "train-character" else {}
    run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    for kind in (StateType.RUNNING, StateType.COMPLETED):
        client.set_flow_run_state(run.id, State(type=kind), force=True)
    return str(run.id)


def test_old_looks_are_deleted_and_all_other_runs_stay(api: str) -> None:
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        put_in_place(client)
        looks = {_ended(client, name) for name in ("watch-inbox", "janitor")}
        other = _ended(client, "train-character")
        assert forget_old_runs(client, timedelta(days=1)) == 0  # none is as old as that
        assert looks <= {str(run.id) for run in client.read_flow_runs()}
        assert forget_old_runs(client, timedelta(0)) == len(looks)
        there = {str(run.id) for run in client.read_flow_runs()}
        assert other in there
        assert not looks & there


def test_schedules_that_nobody_works_on_are_silent_and_paused_ones_are_not(api: str) -> None:
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        put_in_place(client)
        found = watched(client)
        assert {one.name for one in found} == {"watch-inbox", "janitor"}
        long_ago = {one.name: datetime.now(UTC) - timedelta(days=1) for one in found}
        assert not list(silences(client, found, long_ago))  # the schedules themselves are new
        at_once = list(silences(client, found, long_ago, slack=timedelta(days=-1)))
        assert {one.deployment for one in at_once} == {"watch-inbox", "janitor"}
        client.pause_deployment(found[0].id)
        assert {one.name for one in watched(client)} == {found[1].name}
        client.resume_deployment(found[0].id)
