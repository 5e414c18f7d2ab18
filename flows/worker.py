"""Prefect's process worker, but for two faults of it.

With a limit, it crashes when a run is retried at once: it keeps a run's place until the process is cleaned up. A retry
in that moment asks for a second place for the same run, which the limiter refuses with an error that ends the worker
and all its runs. Here such a run waits for the next look, a few seconds later.

And the limit is for all runs alike: while trainings hold every place for hours, no folder is looked at and no lost run
is found. Here the runs that look after others have places of their own.
"""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.workers.process import ProcessWorker

from flows.schedules import HOUSEKEEPING

ASIDE = 2
"""Places for runs that look after others: watch-inbox and janitor, of which there is one at a time."""

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Type 'SteadyWorker'")  # it is meant to take the place of Prefect's own

    class SteadyWorker(ProcessWorker):
        """Takes no run whose last process it has not cleaned up yet; keeps `ASIDE` places of its limit."""

        type = "process"
        _aside: frozenset[UUID] = frozenset()

        async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
            held: frozenset[Any] = frozenset(self._limiter.statistics().borrowers if self._limiter else ())
            free = (entry for entry in flow_run_response if entry.flow_run.id not in held)
            return await super()._submit_scheduled_flow_runs(list(self._with_a_place(free, held)))

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
