"""Prefect's process worker, but for two faults.

With a limit, it crashes when a run is retried at once. It keeps a run's place until the process is cleaned up. A retry
in that moment asks for a second place for the same run, which the limiter refuses with an error that ends the worker
and all its runs. Here such a run waits for the next look, a few seconds later.

Told to end, it kills its runs and leaves them Running. Here it asks them to end first, and gives them, as it does those
that are cancelled, the time that the state of a training takes to be written.
"""

import asyncio
import contextlib
import os
import signal
import time
import warnings
from typing import Any
from uuid import UUID

import psutil
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._process_manager import ProcessManager
from prefect.workers.process import ProcessWorker

from tasks.stopping import SAVES_SECONDS

_LOOK_EVERY_SECONDS = 0.5

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Type 'SteadyWorker'")  # it is meant to take the place of Prefect's own

    class SteadyWorker(ProcessWorker):
        """Takes no run whose last process it has not cleaned up yet, and ends after its runs."""

        type = "process"
        _ends = False

        async def start(self, *arguments: Any, **options: Any) -> None:
            """Run until SIGTERM."""
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end)
            await super().start(*arguments, **options)

        async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
            held = self._limiter.statistics().borrowers if self._limiter else ()
            free = [entry for entry in flow_run_response if entry.flow_run.id not in held and not self._ends]
            return await super()._submit_scheduled_flow_runs(free)

        def _end(self) -> None:
            if not self._ends:
                self._ends = True
                self._last = asyncio.ensure_future(_end_runs())


async def _end_runs() -> None:
    """Ask every run to end, wait, then end as Prefect's worker does."""
    runs = psutil.Process().children()
    for run in runs:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(run.pid, signal.SIGTERM)  # each leads a group of its own
    deadline = time.monotonic() + SAVES_SECONDS
    while any(run.is_running() for run in runs) and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGINT)


class _Patient:
    """What Prefect does with a run that is cancelled, with more patience."""

    kill, finalize = ProcessManager.kill, CancellationManager._finalize_cancelled_state

    @staticmethod
    async def patient_kill(
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
        await _Patient.kill(self, flow_run_id, grace_seconds, force=force)

    @staticmethod
    async def unless_ended(
        self: CancellationManager, flow_run: FlowRun, state_updates: dict[str, object] | None = None
    ) -> bool:
        """Leave the state of a run that has ended by itself: it says what it has saved, and may be retried already."""
        now = await self._client.read_flow_run(flow_run.id)
        if now.state is not None and not now.state.is_cancelling():
            return True
        return await _Patient.finalize(self, flow_run, state_updates)


ProcessManager.kill = _Patient.patient_kill  # type: ignore[method-assign]
CancellationManager._finalize_cancelled_state = _Patient.unless_ended  # type: ignore[method-assign]
