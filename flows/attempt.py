"""One attempt at a run: its process started by one fixed command in an empty folder, and watched until it ends.

A worker of ours calls `attempt`. A container or a pod that was started for one run is `python -m flows.attempt`, with
the run's id in `PREFECT__FLOW_RUN_ID`: as `prefect flow-run execute`, which would load what the server names.

Prefect's runner and worker kill what they end after seconds, and report Cancelled in its place. Here a run that is
cancelled, or whose worker is told to end, is asked first and gets the time that the state of a training takes to be
written. And a run that waits for a person stays Suspended, however its process ended.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import psutil
from anyio.abc import TaskStatus
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle, ProcessManager
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.runner._state_proposer import StateProposer
from prefect.utilities.processutils import command_to_string

from flows.process_signals import ask_group_to_end, ask_self
from tasks.stopping import SAVES_SECONDS

_COMMAND = command_to_string([sys.executable, "-m", "flows.engine"])


class _NoHooks:
    """Our flows have no hooks for a worker to run; Prefect would load them from where the server says, to find out."""

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Nothing."""

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State) -> None:
        """Nothing."""


async def attempt(
    run: FlowRun,
    environment: Mapping[str, str | None],
    status: TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
) -> FlowRunExecutionResult | None:
    """Run `flows.engine` for a run; Cancel in the UI ends it.

    Args:
        run: as the server has it.
        environment: of the process, besides this one's own.
        status: receives the process as soon as there is one.

    Returns:
        How it ended; None when it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="headcanon-run-") as folder:
        async with FlowRunExecutorContext() as context:
            starter = EngineCommandStarter(
                command=_COMMAND,
                cwd=Path(folder),
                env=dict(environment),
                control_channel=context.control_channel,
                isolate_process_group=True,
            )
            executor = context.create_executor(run, starter, hook_runner=_NoHooks(), propose_submitting=False)
            return await executor.submit(status)


async def _attempt_here() -> None:
    async with get_client() as client:
        run = await client.read_flow_run(UUID(os.environ["PREFECT__FLOW_RUN_ID"]))
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_on_sigterm, group.cancel_scope)
        await attempt(run, {})
        group.cancel_scope.cancel()


async def _cancel_on_sigterm(scope: anyio.CancelScope) -> None:
    """`docker stop`, and a pod that is evicted: the run's process is asked to end, and is waited for."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


_LOOK_EVERY_SECONDS = 0.5
_kill, _finalize = ProcessManager.kill, CancellationManager._finalize_cancelled_state
_crash = StateProposer.propose_crashed


def install_patience() -> None:
    """Make this process' runners patient."""
    ProcessManager.kill = _patient_kill  # type: ignore[method-assign]
    CancellationManager._finalize_cancelled_state = _unless_ended  # type: ignore[method-assign]
    StateProposer.propose_crashed = _unless_suspended  # type: ignore[method-assign]


async def end_runs() -> None:
    """Ask every run of this worker to end, wait, then end as Prefect's worker does."""
    runs = psutil.Process().children()
    for run in runs:
        ask_group_to_end(run.pid)  # each leads a group of its own
    deadline = time.monotonic() + SAVES_SECONDS
    while any(run.is_running() for run in runs) and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
    ask_self(signal.SIGINT)


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
    return None if await is_waiting(self._client, flow_run) else await _crash(self, flow_run, message)


async def is_waiting(client: PrefectClient, flow_run: FlowRun) -> bool:
    """Whether a run waits for a person: then it is not Crashed, however its process ended."""
    try:
        now = await client.read_flow_run(flow_run.id)
    except ObjectNotFound:
        return False
    return now.state is not None and now.state.is_paused()


if __name__ == "__main__":
    install_patience()
    anyio.run(_attempt_here)
