"""Start a run of the short form's deployment from another flow."""

from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment

from tasks.runtime import Step

_CHARACTER = "train-character/train-character"


def start_character(character: str, preset: str, key: str, tag: str, force: tuple[Step, ...] = ()) -> FlowRun:
    """Schedule a run and return at once; a second call with the same key returns the first one's run.

    It is no sub-flow of the caller, so that it can be suspended and retried by itself.
    """
    run = run_deployment(
        _CHARACTER, parameters={"character": character, "preset": preset, "force": list(force)}, timeout=0,
        as_subflow=False, idempotency_key=key, tags=[tag], flow_run_name=character,
    )  # fmt: skip
    if not isinstance(run, FlowRun):
        raise TypeError("start_character() was called from an asynchronous flow")
    return run
