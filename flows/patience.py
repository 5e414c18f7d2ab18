"""Time for runs to save: Prefect's runner and worker kill what they end after seconds, and say Cancelled in its place.

Runs that are cancelled, and those of a worker that is told to end, are asked first and get the time that the state of a
training takes to be written. And a run that waits for a person stays Suspended, however its process ended.
"""

import asyncio
import contextlib
import os
import signal
import time
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._process_manager import ProcessManager
from prefect.runner._state_proposer import StateProposer

from tasks.stopping import SAVES_SECONDS

_LOOK_EVERY_SECONDS = 0.5
_kill, _finalize = ProcessManager.kill, CancellationManager._finalize_cancelled_state
_crash = StateProposer.propose_crashed


def install() -> None:
    """Make this process' runners patient."""
    ProcessManager.kill = _patient_kill  # type: ignore[method-assign]
    CancellationManager._finalize_cancelled_state = _unless_ended  # type: ignore[method-assign]
    StateProposer.propose_crashed = _unless_suspended  # type: ignore[method-assign]


async def end_runs() -> None:
    """Ask every run of this worker to end, wait, then end as Prefect's worker does."""
    runs = psutil.Process().children()
    for run in runs:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(run.pid, signal.SIGTERM)  # each leads a group of its own
    deadline = time.monotonic() + SAVES_SECONDS
    while any(run.is_running() for run in runs) and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGINT)


async def _patient_kill(
    self: ProcessManager, flow_run_id: UUID, grace_seconds: float = 30, *, force: bool = False
) -> None:
    """Ask a run to end, and kill what is left of it when it has had the time to save."""
    handle = None if force else self.get(flow_run_id)
    if handle is not None:
        with contextlib.suppress(ProcessLookupError):
            handle.graceful_kill()
        deadline = time.monotonic() + SAVES_SECONDS
        while handle.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
    await _kill(self, flow_run_id, grace_seconds, force=force)


async def _unless_ended(
    self: CancellationManager, flow_run: FlowRun, state_updates: dict[str, object] | None = None
) -> bool:
    """Leave the state of a run that has ended by itself: it says what it has saved, and may be retried already."""
    now = await self._client.read_flow_run(flow_run.id)
    if now.state is not None and not now.state.is_cancelling():
        return True
    return await _finalize(self, flow_run, state_updates)


async def _unless_suspended(self: StateProposer, flow_run: FlowRun, message: str) -> State[Any] | None:
    return None if await is_suspended(self._client, flow_run) else await _crash(self, flow_run, message)


async def is_suspended(client: PrefectClient, flow_run: FlowRun) -> bool:
    """Whether a run waits for a person: then it is not Crashed, however its process ended."""
    try:
        now = await client.read_flow_run(flow_run.id)
    except ObjectNotFound:
        return False
    return now.state is not None and now.state.is_paused()
