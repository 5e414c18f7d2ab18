"""Slow imports: the style trains while captions are written, and neither may see a half-made module."""

import subprocess
import sys
from pathlib import Path

import late_imports
import pytest
from small_project import Project

_WATCHED = "import late_imports; from pathlib import Path; late_imports.watch(Path('late.txt'), slow=True); "


@pytest.mark.long
def test_a_first_run_with_slow_imports_ends_well_and_imports_nothing_in_a_thread(project: Project) -> None:
    where = {**project.environment(), "PYTHONPATH": str(Path(late_imports.__file__).parent)}
    command = [sys.executable, "-c", _WATCHED + "from flows.cli import main; main()", "run", "recipe.toml"]
    done = subprocess.run(command, cwd=project.folder, env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert project.lora.exists()
    assert (project.folder / "late.txt").read_text() == ""
