"""docker/: the files are well-formed, keep no secret, and every command in them does what it should outside docker."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML
from running import PATIENCE_SECONDS, free_port, wait_for
from small_project import Project

DOCKER = Path(__file__).parents[2] / "docker"
TOOLS = Path(sys.executable).parent
SECRETS = {"HEADCANON_AUTH": "user:password", "POSTGRES_PASSWORD": "secret"}


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed; `make` brings it")
    return found


def _compose() -> dict[str, Any]:
    data: dict[str, Any] = YAML(typ="safe").load((DOCKER / "compose.yaml").read_text())
    return data


def _config(*profiles: str, **environment: str) -> subprocess.CompletedProcess[str]:
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [_tool("docker-compose"), "--file", str(DOCKER / "compose.yaml"), *chosen, "config"],
        capture_output=True, text=True, check=False, env={**kept, **environment},
    )  # fmt: skip


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([_tool("hadolint"), str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("profiles", [("cpu",), ("gpu",), ("cpu", "s3"), ()])
def test_compose_takes_the_file_with_every_profile(profiles: tuple[str, ...]) -> None:
    done = _config(*profiles, **SECRETS)
    assert done.returncode == 0, done.stderr
    services = YAML(typ="safe").load(done.stdout)["services"]
    assert services["server"]["ports"][0]["host_ip"] == "127.0.0.1"
    assert services["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"] == "user:password"
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
    if "gpu" in profiles:
        (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


@pytest.mark.parametrize("missing", SECRETS)
def test_without_a_password_nothing_starts(missing: str) -> None:
    done = _config("cpu", **{name: value for name, value in SECRETS.items() if name != missing})
    assert done.returncode != 0
    assert f"set {missing}" in done.stderr


def test_the_example_has_every_setting_and_no_password() -> None:
    example = dict(
        line.split("=", 1) for line in (DOCKER / "example.env").read_text().splitlines() if re.match(r"[A-Z]", line)
    )
    used = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    assert set(example) == used
    assert all(not example[name] for name in (*SECRETS, "S3_PASSWORD", "HF_TOKEN"))


def test_images_are_pinned_and_nothing_of_ours_runs_as_root() -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text()
    assert re.search(r"^USER (?!0|root)", dockerfile, re.MULTILINE)
    for service in _compose()["services"].values():
        tag = service["image"].rpartition(":")[2]
        assert tag != "latest"
        assert re.search(r"\d", tag) or service["image"].startswith("headcanon:")


def test_every_folder_of_the_package_is_copied_into_the_image() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE))
    pyproject = (DOCKER.parent / "pyproject.toml").read_text()
    (included,) = re.findall(r"^include = (.*)$", pyproject, re.MULTILINE)
    assert copied == {name.strip('*" ') for name in included.strip("[]").split(",")}


def test_the_kubernetes_manifest_asks_for_one_gpu_and_no_root() -> None:
    claim, deployment = YAML(typ="safe").load_all((DOCKER / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {mount["name"] for mount in worker["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert worker["args"][0] == _compose()["x-worker"]["command"][0] == "up"


@pytest.mark.slow
@pytest.mark.long
class TestCommands:
    """The server's, the worker's and the health checks' own command lines, on this machine."""

    @pytest.fixture(scope="class")
    def port(self) -> int:
        return free_port()

    @pytest.fixture(scope="class")
    def project(self, tmp_path_factory: pytest.TempPathFactory) -> Project:
        folder = tmp_path_factory.mktemp("compose")
        return Project(folder, folder / "prefect")

    @staticmethod
    def _run(command: list[str], project: Project, **environment: str) -> subprocess.Popen[bytes]:
        path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
        log = (project.folder / "log").open("ab")
        return subprocess.Popen(
            command, cwd=project.folder, stdout=log, stderr=log, start_new_session=True,
            env={**project.environment(), "PATH": path, **environment},
        )  # fmt: skip

    @pytest.fixture(scope="class")
    def server(self, project: Project, port: int) -> Iterator[dict[str, Any]]:
        """The service `server`, with its own command and password, on another port and database."""
        service = _compose()["services"]["server"]
        assert service["command"][:4] == ["--host", "0.0.0.0", "--port", "4200"]
        origins = ["--origin", f"http://server:{port}", "--origin", f"http://localhost:{port}"]
        command = [*service["entrypoint"], "--host", "127.0.0.1", "--port", str(port), *origins]
        assert service["environment"]["HEADCANON_HOME"] == "/studio"
        assert service["volumes"] == _compose()["x-worker"]["volumes"] == ["${STUDIO:-./studio}:/studio"]
        places = {"HEADCANON_HOME": str(project.folder / "studio")}
        process = self._run(command, project, PREFECT_SERVER_API_AUTH_STRING=SECRETS["HEADCANON_AUTH"], **places)
        try:
            check = [*service["healthcheck"]["test"][1:-1], f"http://127.0.0.1:{port}/api"]
            assert check[:3] == ["python", "-m", "flows.healthy"]
            wait_for(lambda: self._healthy(check, project), "the server to be healthy by its own check")
            yield service
        finally:
            process.terminate()
            process.wait(60)

    def _healthy(self, check: list[str], project: Project) -> bool:
        return self._run(check, project).wait(PATIENCE_SECONDS) == 0

    def test_the_worker_s_command_joins_the_server_with_its_password_and_ends_when_told(
        self, project: Project, port: int, server: dict[str, Any]
    ) -> None:
        shared = _compose()["x-worker"]
        api = f"http://127.0.0.1:{port}/api"
        places = {"/studio": str(project.folder / "studio"), "http://server:4200/api": api, "${RUNS:-2}": "2"}
        command = ["headcanon", *(places.get(word, word) for word in shared["command"])]
        process = self._run(command, project, PREFECT_API_AUTH_STRING=SECRETS["HEADCANON_AUTH"])
        try:
            wait_for(lambda: self._healthy(shared["healthcheck"]["test"][1:], project), "the worker to be healthy")
            said = project.folder / "log"
            wait_for(lambda: "Prefect's UI" in said.read_text(), "`headcanon up` to be there")
        finally:
            process.terminate()
        assert process.wait(60) == 0

    def test_the_server_shows_the_studio_page_of_the_folder_that_it_shares_with_the_workers(
        self, project: Project, port: int, server: dict[str, Any]
    ) -> None:
        (project.folder / "studio" / "characters" / "aiko").mkdir(parents=True, exist_ok=True)
        page = f"http://127.0.0.1:{port}/studio/"
        assert httpx.get(page, timeout=60).status_code == httpx.codes.UNAUTHORIZED
        user, _, word = SECRETS["HEADCANON_AUTH"].partition(":")
        shown = httpx.get(page, auth=(user, word), timeout=60)
        assert shown.status_code == httpx.codes.OK
        assert "aiko" in shown.text
