"""A small project on the shipped demo models, and the real command line to run it with."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nursery import Nursery
from toy_recipe import toy_recipe

REDRAW = """
[redraw]
use = true
candidates = 5
pictures = 3
worst_trait = 0
max_look = 1
max_other_trait = 1
least_share = 0.3
epochs = 1
screenshots = 0.25
from_screenshots = 0.6
denoise = 0.3
"""
"""A section to append: as little as a redraw can be."""


@dataclass(frozen=True)
class Project:
    """A folder with a recipe, and a Prefect home of its own."""

    folder: Path
    home: Path
    api: str = ""
    """Of a server; "": each command has one of its own."""

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.toml"

    @property
    def lora(self) -> Path:
        return self.folder / "out" / "momo" / "momo.safetensors"

    def environment(self) -> dict[str, str]:
        """The command's own environment: one thread, so that neighbours don't slow it down, and no user settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "OMP_"))}
        return {**kept, "PREFECT_HOME": str(self.home), "OMP_NUM_THREADS": "1"} | (
            {"PREFECT_API_URL": self.api} if self.api else {}
        )

    def command(self, *arguments: str, first: str = "pass") -> list[str]:
        return [sys.executable, "-c", f"{first}; from flows.cli import main; main()", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`headcanon` with arguments, waited for."""
        if self.api and sys.platform == "linux":
            nursery = _nurseries.setdefault((self.home, self.api), Nursery(self.environment()))
            if done := nursery.run(arguments, self.folder, self.environment()):
                return done
        return self.run_alone(*arguments)

    def run_alone(self, *arguments: str, first: str = "pass") -> subprocess.CompletedProcess[str]:
        """The same in a process that has imported nothing yet, and does what Python code says first."""
        return subprocess.run(
            self.command(*arguments, first=first),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`headcanon` with arguments, in a process group of its own, so that all of it can be killed."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


_nurseries: dict[tuple[Path, str], Nursery] = {}


def new_project(folder: Path, drawn: Path, home: Path, api: str = "") -> Project:
    folder.mkdir()
    for side in ("style", "character"):
        (folder / side).mkdir()
        for file in (drawn / side).iterdir():
            (folder / side / file.name).write_bytes(file.read_bytes())
    (folder / "recipe.toml").write_text(toy_recipe())
    return Project(folder, home, api)
