"""Job templates for pools that start a container or a pod for every run."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from docker.types import HostConfig
from prefect.utilities.templating import apply_values
from prefect_docker.worker import DockerWorkerJobConfiguration

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"


def template(name: str) -> dict[str, Any]:
    text = resources.files("deployments").joinpath(f"templates/{name}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def job(kind: str, /, **values: Any) -> dict[str, Any]:
    """What a worker makes of the template: its defaults, and what a deployment says."""
    properties = template(kind)["variables"]["properties"]
    defaults = {key: each["default"] for key, each in properties.items() if "default" in each}
    made: dict[str, Any] = apply_values(template(kind)["job_configuration"], {**defaults, **values})
    return made


@pytest.mark.parametrize(("gpus", "count"), [(-1, -1), (2, 2)])
def test_a_container_gets_gpus_and_shared_memory(gpus: int, count: int) -> None:
    made = DockerWorkerJobConfiguration.model_validate(job("docker", gpus=gpus))
    assert made.container_create_kwargs is not None
    assert made.container_create_kwargs.pop("entrypoint") == ["python"]  # not the image's own, `headcanon`
    host = HostConfig(version="1.45", **made.container_create_kwargs)  # what docker is asked for
    (request,) = host["DeviceRequests"]
    assert (request["Driver"], request["Count"], request["Capabilities"]) == ("nvidia", count, [["gpu"]])
    assert host["ShmSize"] == 2 << 30


def test_a_container_sees_the_studio_as_its_home() -> None:
    made = DockerWorkerJobConfiguration.model_validate(job("docker"))
    assert made.image == "headcanon:cuda"
    assert made.volumes == ["/srv/studio:/studio"]
    assert made.env["HEADCANON_HOME"] == "/studio"


def test_a_pod_asks_for_a_gpu_and_mounts_the_studio() -> None:
    pod = job("kubernetes", gpus=2)["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"studio": "/studio", "shared-memory": "/dev/shm"}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    assert job("kubernetes")["env"]["HEADCANON_HOME"] == "/studio"
    assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("name", ["docker", "kubernetes"])
def test_a_run_may_set_how_much_it_gets_and_nothing_about_what_it_runs(name: str) -> None:
    variables = template(name)["variables"]
    assert variables["additionalProperties"] is False
    assert set(variables["properties"]) <= {"gpus", "cpu", "memory", "mem_limit"}
    asked = {
        "command": "id", "image": "evil", "volumes": ["/:/host"], "env": {"PYTHONPATH": "/evil"}, "networks": ["host"],
        "labels": {"a": "b"}, "name": "x", "namespace": "kube-system", "claim": "others", "entrypoint": "sh",
    }  # fmt: skip
    assert job(name, **asked) == job(name)
    with pytest.raises(jsonschema.ValidationError):  # and the server says so
        jsonschema.validate({"command": "id"}, variables)


def test_containers_and_pods_run_our_engine_and_not_what_the_server_names() -> None:
    made = job("docker")
    assert [*made["container_create_kwargs"]["entrypoint"], *made["command"].split()] == [
        "python",
        "-m",
        "flows.attempt",
    ]
    (container,) = job("kubernetes")["job_manifest"]["spec"]["template"]["spec"]["containers"]
    assert [*container["command"], *container["args"]] == ["python", "-m", "flows.attempt"]


@pytest.mark.parametrize("name", ["docker", "kubernetes"])
def test_every_variable_is_used_and_every_placeholder_is_one(name: str) -> None:
    whole = template(name)
    known = set(whole["variables"]["properties"])
    text = json.dumps(whole["job_configuration"])
    assert {word for word in known if f"{{{{ {word} }}}}" in text} == known
    assert text.count("{{") == sum(text.count(f"{{{{ {word} }}}}") for word in known)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["docker"])
def test_prefect_s_own_commands_make_the_pool_and_deploy_to_it(api: str, tmp_path: Path, name: str) -> None:
    """As docs/operations.md has them."""
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_HOME": str(tmp_path), "DO_NOT_TRACK": "1"}

    def prefect(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *words], cwd=DEPLOYMENTS, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    where = str(DEPLOYMENTS / "templates" / f"{name}.json")
    httpx.delete(f"{api}/work_pools/headcanon", timeout=60)  # one that is there keeps its type, whatever overwrites it
    prefect("work-pool", "create", "headcanon", "--overwrite", "--type", name, "--base-job-template", where)
    prefect("--no-prompt", "deploy", "--all")
    pool = httpx.get(f"{api}/work_pools/headcanon", timeout=60).raise_for_status().json()
    assert pool["type"] == name
    deployed = httpx.post(f"{api}/deployments/filter", json={}, timeout=60).raise_for_status().json()
    found = {one["name"]: one for one in deployed if one["work_pool_name"] == "headcanon"}
    assert {"train-character", "train-cast", "watch-inbox", "janitor"} <= set(found)
    assert found["train-character"]["entrypoint"] == "flows.train_character.train_character"
    assert found["train-character"]["parameter_openapi_schema"]["required"] == ["character"]
