"""Two runs of the same recipe on one store, at the same time: every step is done by one of them, and both finish."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from small_project import new_project

from lora_core.store.digests import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_two_runs_of_one_character_do_the_work_once(tmp_path: Path, drawn: Path, api: str) -> None:
    project = new_project(tmp_path / "project", drawn, tmp_path / "prefect", api)
    runs = [
        subprocess.Popen(
            project.command("run", "recipe.toml", "--out", out),
            cwd=project.folder,
            env=project.environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for out in ("one", "two")
    ]
    said = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    done = Counter(
        name for text in said for name in re.findall(r"^✓ ((?:train|check|merge|sample|judge)[a-z ]*):", text, re.M)
    )
    assert done["train style"] == done["train character"] == done["merge"] == 1, done
    assert set(done.values()) == {1}, done
    assert any("found finished by another run" in text or ": cached" in text for text in said)
    loras = [project.folder / out / "momo" / "momo.safetensors" for out in ("one", "two")]
    assert len({file_digest(lora) for lora in loras}) == 1
