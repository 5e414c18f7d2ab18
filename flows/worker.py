"""Prefect's process worker, but for one fault: with a limit, it crashes when a run is retried at once.

It keeps a run's place until the process is cleaned up. A retry in that moment asks for a second place for the same
run, which the limiter refuses with an error that ends the worker and all its runs. Here such a run waits for the next
look, a few seconds later.
"""

import warnings

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.workers.process import ProcessWorker

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Type 'SteadyWorker'")  # it is meant to take the place of Prefect's own

    class SteadyWorker(ProcessWorker):
        """Takes no run whose last process it has not cleaned up yet."""

        type = "process"

        async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
            held = self._limiter.statistics().borrowers if self._limiter else ()
            free = [entry for entry in flow_run_response if entry.flow_run.id not in held]
            return await super()._submit_scheduled_flow_runs(free)
