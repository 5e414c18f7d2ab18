"""Eight runs at once on one store and on Prefect's SQLite, as somebody who presses Run for every character."""

from pathlib import Path

import pytest
from running import started
from small_home import new_home

from lora_core.store.digests import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.long]

_NAMES = ("ann", "bea", "cleo", "dora", "edda", "fay", "gwen", "hana")


def test_eight_characters_that_are_started_at_once_all_become_loras(tmp_path: Path, drawn: Path) -> None:
    project = new_home(tmp_path / "home", drawn, tmp_path / "prefect", _NAMES)
    with started(project, "--runs", str(len(_NAMES))) as up:
        runs = [up.submit("train-character", character=name) for name in _NAMES]
        for run in runs:
            up.state(run, "Completed")
    loras = [project.folder / "out" / name / f"{name}.safetensors" for name in _NAMES]
    assert len({file_digest(lora) for lora in loras}) == len(_NAMES)
    said = project.run("store", "verify")
    assert said.returncode == 0, said.stdout
