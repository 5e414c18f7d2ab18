"""Prefect's process worker, but for what a run may name, and for three faults.

It runs our own flows, each by one fixed command in an empty folder, with the worker's own environment: whatever the API
says about the run, its deployment or the pool (`flows.admission`, `flows.attempt`, `flows.engine`).

With a limit, Prefect's worker crashes when a run is retried at once: it keeps a run's place until the process is
cleaned up. A retry in that moment asks for a second place for the same run, which the limiter refuses with an error
that ends the worker and all its runs. Here such a run waits for the next poll, a few seconds later.

Told to end, it kills its runs and leaves them Running; here they get the time to save (`flows.attempt`).

And the limit is for all runs alike: while trainings hold every place for hours, no folder is looked at and no lost run
is found. Here the runs that look after others have places of their own.
"""

import asyncio
import contextlib
import signal
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Self
from uuid import UUID

import anyio
from anyio.abc import TaskStatus
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import ObjectNotFound
from prefect.runner._process_manager import ProcessHandle
from prefect.states import Failed
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.admission import RunRefusedError, refuse_other_code
from flows.attempt import attempt, end_runs, install_patience, is_waiting
from flows.schedules import HOUSEKEEPING
from flows.wanted import ASIDE

install_patience()


class FixedJob(ProcessJobConfiguration):
    """How every run is started: nothing of it comes from the server."""

    @classmethod
    async def from_template_and_values(
        cls, base_job_template: dict[str, Any], values: dict[str, Any], client: PrefectClient | None = None
    ) -> Self:
        """The defaults, whatever pool, deployment and run say."""
        return cls()


class _PidOf(TaskStatus[ProcessHandle]):
    """Hands a started process on as its id."""

    def __init__(self, status: TaskStatus[int]) -> None:
        self._status = status

    def started(self, value: ProcessHandle | None = None) -> None:
        if value is not None and value.pid is not None:
            self._status.started(value.pid)


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Type 'SteadyWorker'")  # it is meant to take the place of Prefect's own

    class SteadyWorker(ProcessWorker):
        """Takes our own runs only, and none whose last process it has not cleaned up yet; keeps `ASIDE` places."""

        type = "process"
        job_configuration = FixedJob
        _aside: frozenset[UUID] = frozenset()
        _ends = False

        async def start(self, *arguments: Any, **options: Any) -> None:
            """Run until SIGTERM."""
            loop = asyncio.get_running_loop()
            try:
                loop.add_signal_handler(signal.SIGTERM, self._end)
            except NotImplementedError:  # Windows' event loop hears no signals
                signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(self._end))
            await super().start(*arguments, **options)

        async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
            held: frozenset[Any] = frozenset(self._limiter.statistics().borrowers if self._limiter else ())
            free = (entry for entry in flow_run_response if entry.flow_run.id not in held and not self._ends)
            return await super()._submit_scheduled_flow_runs(list(self._with_a_place(free, held)))

        def _end(self) -> None:
            if not self._ends:
                self._ends = True
                self._last = asyncio.ensure_future(end_runs())

        def _with_a_place(
            self, entries: Iterable[WorkerFlowRunResponse], held: frozenset[Any]
        ) -> Iterator[WorkerFlowRunResponse]:
            """Those that fit in.

            Args:
                entries: runs that are due, those that wait longest first.
                held: runs that have a place.
            """
            self._aside &= held
            room = (self._limiter.total_tokens if self._limiter else float("inf")) - ASIDE - len(held - self._aside)
            for entry in entries:
                if HOUSEKEEPING in entry.flow_run.tags:
                    self._aside |= {entry.flow_run.id}
                    yield entry
                elif room > 0:
                    room -= 1
                    yield entry

        async def _submit_run(self, flow_run: FlowRun) -> None:
            try:
                await self._refuse_other_code(flow_run)
            except RunRefusedError as error:
                self.get_flow_run_logger(flow_run).error(str(error))
                with contextlib.suppress(ObjectNotFound):
                    await self.client.set_flow_run_state(flow_run.id, Failed(message=str(error)), force=True)
                self._release_limit_slot(flow_run.id)
                self._submitting_flow_run_ids.discard(flow_run.id)
                if self._cancelling_observer is not None:
                    self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)
                return
            await super()._submit_run(flow_run)

        async def _propose_crashed_state(
            self, flow_run: FlowRun, message: str, client: PrefectClient | None = None
        ) -> None:
            if not await is_waiting(client or self.client, flow_run):
                await super()._propose_crashed_state(flow_run, message, client)

        async def _refuse_other_code(self, flow_run: FlowRun) -> None:
            """As the server has the run now, not as the queue handed it out."""
            try:
                run = await self.client.read_flow_run(flow_run.id)
                flow = await self.client.read_flow(run.flow_id)
                deployment = await self.client.read_deployment(run.deployment_id) if run.deployment_id else None
            except ObjectNotFound:
                return  # of what was deleted meanwhile Prefect's worker starts nothing
            refuse_other_code(run, flow.name, deployment)

        async def run(
            self,
            flow_run: FlowRun,
            configuration: ProcessJobConfiguration,
            task_status: TaskStatus[int] | None = None,
        ) -> ProcessWorkerResult:
            """Make one attempt at a run, until it ends."""
            status = _PidOf(task_status or anyio.TASK_STATUS_IGNORED)
            done = await attempt(flow_run, configuration.env, status)
            if done is None or done.status_code is None:
                raise RuntimeError("the run's process could not be started")
            return ProcessWorkerResult(status_code=done.status_code, identifier=str(done.handle.pid))
