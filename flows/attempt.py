"""One attempt at a run: its process started by one fixed command in an empty folder, and watched until it ends.

A worker of ours calls `attempt`. A container or a pod that was started for one run is `python -m flows.attempt`, with
the run's id in `PREFECT__FLOW_RUN_ID`: as `prefect flow-run execute`, which would load what the server names.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import anyio
from anyio.abc import TaskStatus
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.utilities.processutils import command_to_string

from flows import patience

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
        status: is told of the process as soon as there is one.

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
        group.start_soon(_cancel_when_told, group.cancel_scope)
        await attempt(run, {})
        group.cancel_scope.cancel()


async def _cancel_when_told(scope: anyio.CancelScope) -> None:
    """`docker stop`, and a pod that is evicted: the run's process is asked to end, and is waited for."""
    with anyio.open_signal_receiver(signal.SIGTERM) as told:
        async for _ in told:
            scope.cancel()


if __name__ == "__main__":
    patience.install()
    anyio.run(_attempt_here)
