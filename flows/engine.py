"""A run's process: `python -m flows.engine`, with the run's id in `PREFECT__FLOW_RUN_ID`.

As `prefect.engine`, but for three things. The flow is the one that this package declares for the run's deployment:
`prefect.engine` would load whatever entry point, storage and pull steps the server names at that moment. A run that is
none of ours ends as Failed with one line. And what a state of the server's came to is never read: such a record may
name a block to read it from, and pickle to read it with.
"""

import logging
import os
from typing import Any, cast
from uuid import UUID

from prefect import Flow
from prefect._internal.control_listener import configure_from_env
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.engine import handle_engine_signals
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow
from prefect.logging.loggers import flow_run_logger
from prefect.states import Failed

from flows.admission import RunRefusedError, declared_for


def flow_of(client: SyncPrefectClient, run: FlowRun) -> Flow[..., Any]:
    """The flow of this package that a run is of.

    Raises:
        RunRefusedError: it is of none.
    """
    flow = client.read_flow(run.flow_id).name
    try:
        deployment = client.read_deployment(run.deployment_id).name if run.deployment_id else ""
    except ObjectNotFound:
        deployment = ""
    found = declared_for(flow, deployment).flow()
    known, needed = found.parameters.properties.keys(), set(found.parameters.required or ())
    wrong = (run.parameters.keys() - known) | (needed - run.parameters.keys())
    if wrong:  # the server checks that, unless somebody has told it not to
        raise RunRefusedError(
            f"refused: {', '.join(sorted(wrong))}: unknown or missing; {flow} takes {', '.join(known)}"
        )
    return found


def main() -> None:
    """Run it."""
    run_id = UUID(os.environ["PREFECT__FLOW_RUN_ID"])
    configure_from_env()  # how the worker asks it to end, before any flow is loaded
    with handle_engine_signals(run_id), get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
        try:
            flow = flow_of(client, run)
        except RunRefusedError as error:
            client.set_flow_run_state(run_id, Failed(message=str(error)), force=True)
            return
        logger = cast(logging.Logger, flow_run_logger(run))  # an adapter of one
        run_flow(flow, flow_run=run, return_type="state", error_logger=logger)


if __name__ == "__main__":
    main()
