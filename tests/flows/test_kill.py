"""`kill -9` at five moments: the same command finishes the job, and the LoRA is the undisturbed run's, to the byte."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_project import Project, new_project

from lora_core.store.digests import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.long]


def _any(pattern: str) -> Callable[[Project], bool]:
    return lambda project: any((project.folder / "store").glob(pattern))


MOMENTS: tuple[tuple[str, Callable[[Project], bool]], ...] = (
    ("style training", _any("work/*/style-000001.safetensors")),
    ("merge", _any("work/*/.merged*")),
    ("character training", _any("work/*/momo-000001.safetensors")),
    ("sampling", lambda project: _count(project, "sample") > 2),
    ("any moment", lambda project: True),
)


def _count(project: Project, what: str) -> int:
    return sum(
        1 for path in (project.folder / "store/objects").glob("??/*") if path.read_bytes()[:200].find(b"Steps:") > 0
    )


def _kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> bool:
    """Kill the whole group as soon as the moment is there; False if the run ended before."""
    while process.poll() is None:
        if reached():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    return False


def test_a_run_killed_again_and_again_ends_with_the_same_bytes(
    tmp_path: Path, drawn: Path, prefect_home: Path, api: str
) -> None:
    undisturbed = new_project(tmp_path / "undisturbed", drawn, prefect_home, api)
    done = undisturbed.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    killed = new_project(tmp_path / "killed", drawn, prefect_home, api)
    hit = []
    for name, reached in MOMENTS[:4]:
        if _kill_when(killed.start("run", "recipe.toml"), lambda: reached(killed)):  # noqa: B023
            hit.append(name)
    process = replace(killed, api="").start("run", "recipe.toml")  # with a server of its own, which dies with it
    time.sleep(3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = replace(killed, api="").run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    assert "✓ train style" not in done.stderr  # no finished step is done again
    assert len(hit) >= 3, hit
    assert file_digest(killed.lora) == file_digest(undisturbed.lora)
    for file in (undisturbed.lora.parent / "epochs").iterdir():
        assert file_digest(killed.lora.parent / "epochs" / file.name) == file_digest(file)
