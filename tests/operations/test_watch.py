"""What a run's own process makes of what the server says of it."""

from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Crashed, Paused, Pending, Running, Suspended

from flows.ending import _RunWatch


def _run(state: State, count: int = 1) -> FlowRun:
    return FlowRun(flow_id=uuid4(), state=state, state_type=state.type, run_count=count)


@pytest.fixture
def watch() -> _RunWatch:
    """One that has seen its run Running once."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:4790/api"}):
        watch = _RunWatch(uuid4())
    assert watch.happened(_run(Running())) == ""
    return watch


@pytest.mark.parametrize("state", [Running(), Running(name="Retrying"), Paused()], ids=lambda state: state.name)
def test_a_run_that_runs_or_waits_with_its_process_for_an_answer_goes_on(watch: _RunWatch, state: State) -> None:
    assert watch.happened(_run(state)) == ""
    assert not watch.lost


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Suspended(), "paused in Prefect"),
        (Cancelling(), "cancelled in Prefect"),
        (Cancelled(), "Cancelled in Prefect"),
        (Crashed(), "Crashed in Prefect"),
        (AwaitingRetry(), "AwaitingRetry in Prefect"),
        (Pending(), "Pending in Prefect"),
    ],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
def test_a_run_that_the_server_no_longer_calls_running_is_to_end(watch: _RunWatch, state: State, told: str) -> None:
    assert watch.happened(_run(state)) == told


def test_a_run_that_was_started_anew_or_deleted_is_no_longer_this_process(watch: _RunWatch) -> None:
    assert watch.happened(_run(Running(), count=2)) == "the run was started anew elsewhere"
    assert watch.lost
    assert watch.happened(None) == "the run was deleted"
    assert watch.lost


def test_pauses_are_told_apart_by_what_the_ui_sends() -> None:
    assert Suspended().state_details.pause_reschedule
    assert not Paused().state_details.pause_reschedule
    assert Suspended().type == Paused().type == StateType.PAUSED
