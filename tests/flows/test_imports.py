"""Slow imports: the style trains while captions are written, and neither may see a half-made module."""

import subprocess
import sys
from pathlib import Path

import late_imports
import pytest
from small_project import Project

_WATCHED = "import late_imports; from pathlib import Path; late_imports.watch(Path('late.txt'), slow=True); "


def test_a_form_a_plan_and_a_look_at_what_is_finished_need_no_torch() -> None:
    every_flow = "from flows.deploy import declared; [one.flow() for one in declared()]"
    done = subprocess.run(
        [sys.executable, "-c", f"{every_flow}; import sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not {"torch", "diffusers", "transformers", "peft"} & set(done.stdout.split())


def test_the_server_is_started_before_anything_of_prefect_is_imported() -> None:
    command = "import sys, flows.cli.app, flows.up; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert "prefect" not in done.stdout.split()


@pytest.mark.long
def test_a_first_run_with_slow_imports_ends_well_and_imports_nothing_in_a_thread(project: Project) -> None:
    where = {**project.environment(), "PYTHONPATH": str(Path(late_imports.__file__).parent)}
    command = [sys.executable, "-c", _WATCHED + "from flows.cli import main; main()", "run", "recipe.toml"]
    done = subprocess.run(command, cwd=project.folder, env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert project.lora.exists()
    assert (project.folder / "late.txt").read_text() == ""
