"""What can go wrong under a run: it loses nothing, and comes to the bytes of the undisturbed one."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import get_args

import pytest
from small_disk import SmallDisk
from small_project import Project, new_project

from lora_core.lora.merge import MERGED
from lora_core.store import Store
from lora_core.store.digests import file_digest
from lora_core.store.gc import verify
from tasks.runtime import Step

pytestmark = [pytest.mark.slow, pytest.mark.long]

# Of the cached steps, what this recipe has none of.
STEPS = [step for step in get_args(Step) if step not in ("look", "subtract", "transfer", "redraw", "select")]
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, drawn: Path, prefect_home: Path, api: str) -> Project:
    """The undisturbed run."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", drawn, prefect_home, api)
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    return project


def published(project: Project) -> dict[str, str]:
    """Digests of what a run is for: the LoRA, every epoch, every sample."""
    folder = project.lora.parent
    return {
        str(path.relative_to(folder)): file_digest(path)
        for pattern in ("*.safetensors", "epochs/*", "samples/*/*.png", "checks/*/*.png")
        for path in folder.glob(pattern)
    }


def assert_finishes(project: Project, like: Project) -> str:
    """The same command once more ends with the same bytes; returns what it said."""
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    assert published(project) == published(like)
    return done.stderr


# ── killed ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_killed_in_each_of_its_steps_does_no_finished_step_again(finished: Project, project: Project) -> None:
    command = [sys.executable, str(SUPPORT / "killed_in_steps.py"), "recipe.toml", *STEPS, "publish"]
    environment = {**project.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == 0, killed.stderr
    assert killed.stdout.splitlines() == [f"{step}: -9" for step in (*STEPS, "publish")], killed.stderr
    assert list((project.folder / "out").rglob("*.safetensors")) == []
    said = assert_finishes(project, finished)
    assert "✓" not in said


# ── damaged and lost artifacts ───────────────────────────────────────────────────────────────────────────────────────


def _flip(path: Path) -> None:
    """One bit in the middle, as a bad disk does it: neither size nor time tells."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _kept(project: Project) -> list[Path]:
    """In the store: the LoRA, a sample, the merged model and the style LoRA that it was made with."""
    store, out = Store(project.folder / "store"), project.lora.parent
    files = [project.lora, out / "samples/2-w1/1-1.png", out / "checks/style-lora/style.safetensors"]
    merged = [path for path in (store.root / "objects").glob("??/*") if MERGED.encode() in path.read_bytes()[:4096]]
    assert merged
    return [*(store.root / "objects" / digest[:2] / digest for digest in map(file_digest, files)), *merged]


@pytest.mark.parametrize("harm", [_flip, Path.unlink], ids=["a flipped byte", "deleted"])
def test_artifacts_that_are_harmed_are_made_again_in_the_same_run(
    tmp_path: Path, finished: Project, harm: Callable[[Path], None]
) -> None:
    copytree(finished.folder, tmp_path / "project", ignore=ignore_patterns("out"))
    project = replace(finished, folder=tmp_path / "project")
    harmed = [project.folder / path.relative_to(finished.folder) for path in _kept(finished)]
    for path in harmed:
        harm(path)
    said = assert_finishes(project, finished)
    assert list(verify(Store(project.folder / "store"))) == []
    assert all(path.is_file() for path in harmed)
    assert {"train style", "merge", "train character"} <= set(re.findall(r"^✓ ([a-z ]+):", said, re.MULTILINE))
    assert {"preprocess", "tag", "caption"}.isdisjoint(re.findall(r"^✓ ([a-z ]+):", said, re.MULTILINE))


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Disk:
    """A small disk that holds a project's store."""

    def __init__(self, folder: Path, project: Project) -> None:
        self.folder, self._ballast = folder, folder / "ballast"
        text = project.recipe.read_text()
        project.recipe.write_text(text.replace('store = "store"', f'store = "{folder}/store"'))

    def fill(self, but_bytes: int = 0) -> None:
        """Leave so much room."""
        room = os.statvfs(self.folder)
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            left = room.f_bavail * room.f_frsize - but_bytes
            while left > 0:
                left -= file.write(bytes(min(left, 1 << 20)))

    def empty(self) -> None:
        self._ballast.unlink()

    def leave(self, room_bytes: int) -> None:
        """Make the disk as large as what is on it, and so much more."""
        room = os.statvfs(self.folder)
        used = (room.f_blocks - room.f_bfree) * room.f_frsize
        size = f"remount,size={(used + room_bytes) // 1024}k"
        subprocess.run(["mount", "-o", size, str(self.folder)], check=True)


@pytest.fixture
def disk(project: Project, small_disk: SmallDisk) -> Disk:
    return Disk(small_disk(128 << 10), project)


def assert_full(project: Project, disk: Disk, process: "subprocess.Popen[str]") -> None:
    """One clear line, exit status 2, no half file in the store."""
    _, said = process.communicate()
    assert_told_full(said, process.returncode, disk.folder)
    assert list(disk.folder.rglob("*.tmp")) == []


def assert_told_full(said: str, status: int, folder: Path) -> None:
    """One clear line about a folder, exit status 2, nothing else."""
    told = [line for line in said.splitlines() if line.startswith("headcanon: ")]
    assert status == 2, said
    assert len(told) == 1, said
    assert str(folder) in told[0]
    assert re.search("the disk is full|are free; free some space", told[0])
    assert "Traceback" not in said
    assert "Error" not in said


def _start(project: Project) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        project.command("run", "recipe.toml"),
        cwd=project.folder, env=project.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_disk_that_fills_up_at_a_checkpoint_is_one_line_and_with_room_the_run_goes_on(
    finished: Project, project: Project, disk: Disk
) -> None:
    running = _start(project)
    while not list(disk.folder.glob("store/work/*/state.safetensors")):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    disk.fill()
    assert_full(project, disk, running)
    disk.empty()
    said = assert_finishes(project, finished)
    assert "✓ train style" in said
    assert "✓ preprocess" not in said


def test_a_disk_that_has_no_room_for_the_merged_model_is_one_line_and_the_style_is_not_trained_again(
    finished: Project, project: Project, disk: Disk
) -> None:
    merged = sum(path.stat().st_size for path in _kept(finished)[3:])
    disk.fill(but_bytes=merged)
    assert_full(project, disk, _start(project))
    disk.empty()
    said = assert_finishes(project, finished)
    assert "✓ merge" in said
    assert "✓ train style" not in said


def _last(said: str) -> str:
    """The last step that a run finished or found."""
    return next(iter(reversed(re.findall(r"^[✓=] ([a-z ]+)", said, re.MULTILINE))), "")


def test_a_store_that_is_full_again_and_again_is_one_line_each_time_and_the_run_ends_with_the_same_bytes(
    finished: Project, project: Project, disk: Disk
) -> None:
    """The disk grows by a little more each time, so that it is full in another step."""
    reached, room = [], 128 << 10
    disk.leave(room)
    while True:
        running = _start(project)
        _, said = running.communicate()
        if running.returncode == 0:
            break
        assert_told_full(said, running.returncode, disk.folder)
        assert list(disk.folder.rglob("*.tmp")) == []
        reached.append(_last(said))
        room = room * 3 // 2
        disk.leave(room)
    assert len(reached) >= 4
    assert len(set(reached)) >= 3, reached
    assert_finishes(project, finished)


def test_an_output_folder_whose_disk_is_full_is_one_line_and_with_room_it_is_filled(
    finished: Project, project: Project, small_disk: SmallDisk
) -> None:
    out = small_disk(64)
    text = project.recipe.read_text()
    project.recipe.write_text(text.replace('out = "out"', f'out = "{out}"'))
    running = _start(project)
    _, said = running.communicate()
    assert_told_full(said, running.returncode, out)
    assert not [path for path in out.rglob("*") if path.suffix in (".tmp", ".safetensors")]
    subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
    again = project.run("run", "recipe.toml")
    assert again.returncode == 0, again.stderr
    assert "✓" not in again.stderr
    made, whole = (
        {str(path.relative_to(folder)): file_digest(path) for path in folder.rglob("*.safetensors")}
        for folder in (out / "momo", finished.lora.parent)
    )
    assert made == whole


@pytest.mark.parametrize("when", ["from the start", "in the middle"])
def test_a_full_disk_under_prefects_home_is_one_line_and_with_room_the_run_ends_with_the_same_bytes(
    finished: Project, project: Project, small_disk: SmallDisk, when: str
) -> None:
    home = small_disk(48 << 10)
    alone = replace(project, home=home, api="")  # with a server of its own
    disk = Disk(home, project)
    project.recipe.write_text(project.recipe.read_text().replace(f"{home}/store", "store"))
    if when == "from the start":
        disk.fill(but_bytes=64 << 10)
    running = _start(alone)
    if when == "in the middle":
        while not list(alone.folder.glob("store/curves/style-*/*.csv")):
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        disk.fill()
    _, said = running.communicate()
    assert_told_full(said, running.returncode, home)
    disk.empty()
    assert_finishes(alone, finished)
