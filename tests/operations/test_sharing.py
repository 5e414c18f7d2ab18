"""Steps that are shared or need a GPU, and a worker that takes a run again at once."""

import asyncio
import socket
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import State

from flows.janitor import is_lost, may_retry
from flows.worker import SteadyWorker
from tasks.runtime import ON_ACCELERATOR, RunContext, accelerator, gpu_limit

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _run(state: StateType = StateType.RUNNING, *, minutes_ago: float = 60, **more: Any) -> FlowRun:
    began = NOW - timedelta(minutes=minutes_ago)
    return FlowRun.model_validate(
        {
            "flow_id": uuid.uuid4(),
            "state": State(type=state, timestamp=began),
            "state_type": state,
            "start_time": began,
            **more,
        }
    )


@pytest.mark.parametrize(
    ("silent_minutes", "lost"), [(0.5, False), (1.4, False), (1.6, True), (600, True)], ids=lambda value: str(value)
)
def test_a_run_is_lost_when_its_last_sign_of_life_is_older_than_three_heartbeats(
    silent_minutes: float, lost: bool
) -> None:
    assert is_lost(_run(), NOW - timedelta(minutes=silent_minutes), NOW, 90) is lost


def test_a_run_that_has_just_begun_or_been_retried_is_given_its_time() -> None:
    assert not is_lost(_run(minutes_ago=1), None, NOW, 90)
    assert not is_lost(_run(minutes_ago=1), NOW - timedelta(hours=3), NOW, 90)


def test_a_run_that_a_worker_has_only_taken_is_given_a_quarter_of_an_hour() -> None:
    assert not is_lost(_run(StateType.PENDING, minutes_ago=10), None, NOW, 90)
    assert is_lost(_run(StateType.PENDING, minutes_ago=20), None, NOW, 90)


@pytest.mark.parametrize(("count", "retries", "again"), [(1, 0, False), (1, 1, True), (2, 1, False), (2, 3, True)])
def test_a_lost_run_is_started_again_only_as_often_as_told(count: int, retries: int, again: bool) -> None:
    assert may_retry(_run(run_count=count, deployment_id=uuid.uuid4()), retries) is again
    assert not may_retry(_run(run_count=count), retries)  # no deployment, no way to start it


def test_a_worker_leaves_a_retried_run_whose_last_process_it_still_cleans_up() -> None:
    async def take() -> list[FlowRun]:
        worker, run = SteadyWorker(work_pool_name="headcanon"), _run()
        worker._limiter = anyio.CapacityLimiter(2)
        worker._limiter.acquire_on_behalf_of_nowait(run.id)
        return await worker._submit_scheduled_flow_runs([cast(Any, SimpleNamespace(flow_run=run))])

    assert asyncio.run(take()) == []


def test_the_gpu_limit_is_the_host_s_and_that_of_the_gpus_a_worker_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_limit() == f"gpu:{socket.gethostname()}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpu_limit() == f"gpu:{socket.gethostname()}:0+1"


def test_only_steps_that_use_a_gpu_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Limit:
        def __init__(self, name: str, **options: Any) -> None:
            asked.append(name)

        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr("tasks.runtime.concurrency", Limit)
    monkeypatch.setattr("lora_core.device.pick_device", lambda name: SimpleNamespace(type="cuda"))
    at = RunContext(store="store")
    for step in ("preprocess", "tag", "caption", "merge", "report"):
        with accelerator(cast(Any, step), at):
            assert asked == []
    with accelerator("train style", RunContext(store="store", device="cpu")):
        assert asked == []
    for step in sorted(ON_ACCELERATOR):
        with accelerator(step, at):
            pass
    assert asked == [gpu_limit()] * len(ON_ACCELERATOR)
