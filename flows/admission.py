"""Which runs a worker of ours takes: those of our deployments as we declare them, and nothing that runs other code.

Prefect's API lets whoever reaches it say what a run executes: a command, an environment, a folder, an image (job
variables, of the run, of its deployment, or of the pool), steps that fetch code, another entry point, a storage block.
The server is asked which flow it is and with which parameters; everything else is this package's own.
"""

from collections.abc import Iterator
from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse

from flows.deploy import Declared, declared
from lora_core.errors import UserError


class RunRefusedError(UserError):
    """A run that asks for more than one of our flows with parameters."""


def declared_for(flow: str, deployment: str) -> Declared:
    """Our deployment of these names.

    Args:
        flow: name of the run's flow.
        deployment: name of its deployment.

    Raises:
        RunRefusedError: it is none of ours.
    """
    ours = {one.name: one for one in declared()}
    if flow == deployment and flow in ours:  # each is called as its flow is, so that no flow has to be loaded to know
        return ours[flow]
    raise RunRefusedError(
        f"refused: {flow}/{deployment or '(none)'} is no deployment of headcanon's; this worker runs nothing but "
        f"{', '.join(ours)}"
    )


def refuse_other_code(run: FlowRun, flow: str, deployment: DeploymentResponse | None) -> None:
    """Refuse a run that is not simply one of our flows with parameters.

    Args:
        run: as the server has it.
        flow: name of its flow.
        deployment: the run's, if it has one.

    Raises:
        RunRefusedError: what else it asks for is named, and what to do.
    """
    if deployment is None or deployment.flow_id != run.flow_id:
        raise RunRefusedError(
            f"refused: the run is of no deployment of the flow {flow!r}, and this worker runs only headcanon's; start "
            "it from a form under Deployments"
        )
    one = declared_for(flow, deployment.name)
    asked = [*_of_run(run), *_of_deployment(deployment, one)]
    if asked:
        raise RunRefusedError(
            f"refused: {' and '.join(asked)}; this worker runs headcanon's own flows, with parameters and nothing "
            "else. A new start of `headcanon up` sets the deployment right"
        )


def _of_run(run: FlowRun) -> Iterator[str]:
    if run.job_variables:
        yield f"the run sets job variables ({', '.join(sorted(run.job_variables))})"
    if run.infrastructure_document_id is not None:
        yield "the run names an infrastructure block"
    if _refers_to_blocks(run.parameters):
        yield "a parameter refers to a block"


def _of_deployment(deployment: DeploymentResponse, one: Declared) -> Iterator[str]:
    if deployment.entrypoint != one.entrypoint:
        yield f"the deployment's entry point is {deployment.entrypoint!r}, not {one.entrypoint!r}"
    if deployment.job_variables:
        yield f"the deployment sets job variables ({', '.join(sorted(deployment.job_variables))})"
    if deployment.pull_steps:
        yield "the deployment has pull steps"
    if deployment.path not in (None, "", "."):
        yield f"the deployment takes its code from {deployment.path!r}"
    if deployment.storage_document_id is not None or deployment.infrastructure_document_id is not None:
        yield "the deployment names a storage or infrastructure block"


def _refers_to_blocks(value: Any) -> bool:
    """Whether Prefect would load a block, of any kind, in the place of a part of the parameters."""
    if isinstance(value, dict):
        return "$ref" in value or any(_refers_to_blocks(inner) for inner in value.values())
    return isinstance(value, list) and any(_refers_to_blocks(inner) for inner in value)
