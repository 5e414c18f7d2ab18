"""`headcanon run` that is stopped or killed in its training: at most one step is lost, and nothing is left behind."""

import os
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from small_project import Project, new_project

from lora_core.store.digests import file_digest
from lora_core.training.resume import read_position

pytestmark = [pytest.mark.slow, pytest.mark.long]

_GONE_SECONDS = 60.0


def _project(folder: Path, drawn: Path, home: Path, processes: int = 1) -> Project:
    """States are written at the end of an epoch only, unless somebody asks; every command has a server of its own."""
    project = new_project(folder, drawn, home)
    text = project.recipe.read_text().replace("checkpoint_minutes = 0.02", "checkpoint_minutes = 60")
    text = text.replace("batch = 4", "batch = 1" if processes == 1 else "batch = 2")
    project.recipe.write_text(text.replace("[runtime]", f"[runtime]\nprocesses = {processes}"))
    return project


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, drawn: Path, prefect_home: Path) -> Project:
    project = _project(tmp_path_factory.mktemp("undisturbed") / "project", drawn, prefect_home)
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    return project


def _hear_signals() -> None:
    """Whoever runs the tests in the background ignores Ctrl-C, and so would what they start."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _start(project: Project) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        project.command("run", "recipe.toml"),
        cwd=project.folder, env=project.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=_hear_signals,
    )  # fmt: skip


def _steps(project: Project, name: str) -> int:
    """How many steps of a training were told so far."""
    return sum(len(file.read_text().splitlines()) - 1 for file in project.folder.glob(f"store/curves/{name}-*/*.csv"))


def _in_step(project: Project, run: "subprocess.Popen[str]", step: int) -> None:
    while _steps(project, "momo") < step:
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)


def _family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _all_gone(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=_GONE_SECONDS)
    assert not alive


def _finishes(project: Project, like: Project) -> None:
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    assert "✓ train style" not in done.stderr
    assert file_digest(project.lora) == file_digest(like.lora)
    assert list(project.folder.rglob("*.tmp")) == []


@pytest.mark.parametrize(
    ("number", "step", "processes"),
    [(signal.SIGINT, 1, 1), (signal.SIGTERM, 9, 1), (signal.SIGHUP, 15, 1), (signal.SIGINT, 5, 2)],
    ids=["Ctrl-C", "SIGTERM", "closed terminal", "Ctrl-C, two processes"],
)
def test_a_signal_saves_the_step_says_so_and_the_same_command_ends_with_the_same_bytes(
    tmp_path: Path, drawn: Path, prefect_home: Path, undisturbed: Project, number: signal.Signals, step: int,
    processes: int,
) -> None:  # fmt: skip
    project, like = _project(tmp_path / "project", drawn, prefect_home, processes), undisturbed
    if processes > 1:
        like = _project(tmp_path / "like", drawn, prefect_home, processes)
        assert like.run("run", "recipe.toml").returncode == 0
    run = _start(project)
    _in_step(project, run, step)
    family, told = _family(run), _steps(project, "momo")
    os.killpg(run.pid, number)  # a terminal tells every process
    said, _ = run.communicate()
    assert run.returncode == 128 + number, said
    (line,) = (line for line in said.splitlines() if line.startswith("headcanon: "))
    assert line.endswith("Run the same command to resume.")
    saved = re.search(r"stopped by (SIG\w+)\. The training's state is saved \(step (\d+) of \d+\)", line)
    assert saved, line
    assert saved[1] == number.name
    assert "Traceback" not in said
    (state,) = (path for path in project.folder.glob("store/work/*/state.safetensors") if _unfinished(path))
    position = read_position(state)
    assert position is not None
    assert position.step == int(saved[2]) >= told
    _all_gone(family)
    _finishes(project, like)


def _unfinished(state: Path) -> bool:
    return not (state.parent / "loss.json").exists()


@pytest.fixture
def twin(tmp_path: Path, drawn: Path) -> tuple[Project, Project]:
    """Two projects and a Prefect home that neither has used."""
    home = tmp_path / "prefect"
    return _project(tmp_path / "one", drawn, home), _project(tmp_path / "other", drawn, home)


def test_two_commands_at_once_have_a_server_each_and_kill_9_leaves_none(
    twin: tuple[Project, Project], undisturbed: Project
) -> None:
    one, other = twin
    killed, goes_on = _start(one), _start(other)
    _in_step(one, killed, 1)
    family = _family(killed)
    servers = [child for process in (killed, goes_on) for child in _family(process) if _is_server(child)]
    assert len(servers) == 2
    connections = [one for server in servers for one in server.net_connections("tcp")]
    listening = {one.laddr for one in connections if one.status == psutil.CONN_LISTEN}
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert len(listening) == 2
    killed.kill()
    killed.communicate()
    _all_gone(family)
    said, _ = goes_on.communicate()
    assert goes_on.returncode == 0, said
    assert file_digest(other.lora) == file_digest(undisturbed.lora)
    _finishes(one, undisturbed)


def _is_server(process: psutil.Process) -> bool:
    return "private-server" in process.cmdline()


def test_a_server_that_the_user_names_is_used_and_outlives_the_command(
    tmp_path: Path, drawn: Path, prefect_home: Path, api: str
) -> None:
    project = replace(_project(tmp_path / "project", drawn, prefect_home), api=api)
    run = _start(project)
    _in_step(project, run, 1)
    assert not [child for child in _family(run) if _is_server(child)]
    run.kill()
    run.communicate()
    assert project.run("run", "recipe.toml", "--until", "merge").returncode == 0
