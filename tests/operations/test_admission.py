"""Which runs a worker of ours takes: our flows with parameters, and nothing that a server adds to them."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import DeploymentResponse

from flows.admission import RunRefusedError, declared_for, refuse_other_code
from flows.deploy import TEMPLATE, declared
from flows.service import keep_what_runs_need
from flows.worker import FixedJob

_FLOW = uuid4()
_OURS = {one.name: one for one in declared()}
_NAME = "train-character"


def _run(**said: Any) -> FlowRun:
    return FlowRun.model_validate({"flow_id": _FLOW, "parameters": {"character": "momo"}, **said})


def _deployment(name: str = _NAME, **said: Any) -> DeploymentResponse:
    entrypoint = _OURS[name].entrypoint if name in _OURS else "os.system"
    return DeploymentResponse.model_validate(
        {"id": uuid4(), "name": name, "flow_id": _FLOW, "entrypoint": entrypoint, **said}
    )


@pytest.mark.parametrize("name", _OURS)
def test_our_own_deployments_are_taken_and_the_same_with_other_code_are_not(name: str) -> None:
    refuse_other_code(_run(), name, _deployment(name))
    with pytest.raises(RunRefusedError):
        refuse_other_code(_run(), name, _deployment(name, entrypoint="os.system"))


@pytest.mark.parametrize("variable", ["command", "env", "working_dir", "image", "volumes", "env.PYTHONPATH", "labels"])
def test_a_run_that_sets_anything_about_how_it_is_started_is_refused(variable: str) -> None:
    with pytest.raises(RunRefusedError, match=f"the run sets job variables \\({variable}\\)"):
        refuse_other_code(_run(job_variables={variable: "x"}), _NAME, _deployment())
    with pytest.raises(RunRefusedError, match=f"the deployment sets job variables \\({variable}\\)"):
        refuse_other_code(_run(), _NAME, _deployment(job_variables={variable: "x"}))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"entrypoint": "/tmp/evil.py:flow"}, "entry point"),
        ({"entrypoint": "flows.train_cast.train_cast"}, "entry point"),
        ({"entrypoint": None}, "entry point"),
        ({"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "id"}}]}, "pull steps"),
        ({"path": "/tmp/elsewhere"}, "takes its code from '/tmp/elsewhere'"),
        ({"storage_document_id": uuid4()}, "storage or infrastructure block"),
        ({"infrastructure_document_id": uuid4()}, "storage or infrastructure block"),
    ],
)
def test_a_deployment_that_was_changed_to_run_other_code_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(RunRefusedError, match=told):
        refuse_other_code(_run(), _NAME, _deployment(**changed))


@pytest.mark.parametrize(
    "parameters",
    [
        {"character": {"$ref": {"block_document_id": "x"}}},
        {"character": "momo", "force": [{"$ref": "prefect.x"}]},
        {"base": {"model": {"inner": [{"$ref": {}}]}}},
    ],
)
def test_a_parameter_that_would_load_a_block_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(RunRefusedError, match="refers to a block"):
        refuse_other_code(_run(parameters=parameters), _NAME, _deployment())


def test_a_run_of_another_deployment_of_none_or_of_another_flow_is_refused() -> None:
    with pytest.raises(RunRefusedError, match="train-character/evil is no deployment of headcanon's"):
        refuse_other_code(_run(), _NAME, _deployment("evil"))
    with pytest.raises(RunRefusedError, match="evil/train-character is no deployment of headcanon's"):
        refuse_other_code(_run(), "evil", _deployment())
    with pytest.raises(RunRefusedError, match="of no deployment"):
        refuse_other_code(_run(), _NAME, None)
    with pytest.raises(RunRefusedError, match="of no deployment"):
        refuse_other_code(_run(flow_id=UUID(int=1)), _NAME, _deployment())
    with pytest.raises(RunRefusedError, match="infrastructure block"):
        refuse_other_code(_run(infrastructure_document_id=uuid4()), _NAME, _deployment())


def test_what_a_pool_or_a_run_says_about_the_process_reaches_no_process() -> None:
    """The last line: should such a run get as far as being started."""
    open_template = {
        "job_configuration": {"command": "{{ command }}", "env": "{{ env }}", "working_dir": "{{ working_dir }}"},
        "variables": {"properties": {"command": {"type": "string", "default": "id"}}},
    }
    values = {"command": "id", "env": {"PYTHONPATH": "/tmp/evil"}, "working_dir": "/tmp"}
    job = asyncio.run(FixedJob.from_template_and_values(open_template, values))
    assert job == FixedJob()
    assert (job.command, job.env, job.working_dir) == (None, {}, None)


def test_the_pool_offers_no_variable_at_all() -> None:
    assert TEMPLATE["variables"] == {"type": "object", "properties": {}, "additionalProperties": False}
    assert "{{" not in str(TEMPLATE)


@pytest.mark.parametrize("one", declared(), ids=lambda one: one.name)
def test_each_deployment_is_called_as_its_flow_which_checks_its_parameters_and_has_no_hooks(one: Any) -> None:
    """So a worker knows a flow by its name, and runs nothing for it outside of its process."""
    flow = one.flow()
    assert declared_for(flow.name, one.name) == one
    refused = flow.fn(**dict.fromkeys(flow.parameters.properties, object()))
    assert isinstance(refused, State)
    assert refused.is_failed()
    assert not flow.persist_result
    assert not flow.on_cancellation_hooks
    assert not flow.on_crashed_hooks


def test_runs_inherit_what_they_need_and_no_other_secret() -> None:
    kept = {
        "PATH": "/bin", "HOME": "/home/x", "HF_TOKEN": "hf", "AWS_SECRET_ACCESS_KEY": "s3", "CUDA_VISIBLE_DEVICES": "0",
        "HEADCANON_HOME": "/studio", "PREFECT_API_URL": "http://x/api", "PREFECT_API_AUTH_STRING": "u:p",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": "/src", "https_proxy": "http://proxy", "PYTORCH_CUDA_ALLOC_CONF": "x",
    }  # fmt: skip
    others = {
        "HEADCANON_DATABASE": "postgresql://u:p@h/d", "HEADCANON_NOTIFY": "https://hooks/secret",
        "PREFECT_SERVER_API_AUTH_STRING": "u:p", "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql://u:p@h/d",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "x", "GITHUB_TOKEN": "gh", "SSH_AUTH_SOCK": "/tmp/agent",
        "OPENAI_API_KEY": "sk", "KUBECONFIG": "/home/x/.kube", "LD_AUDIT": "/tmp/evil.so",
    }  # fmt: skip
    environment = {**kept, **others}
    keep_what_runs_need(environment)
    assert environment == kept
