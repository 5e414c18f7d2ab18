"""Two recipes at once on one store, and `store gc` again and again beside them: the bytes are those of one by one."""

import subprocess
import threading
from pathlib import Path

import pytest
from small_project import Project, new_project

from lora_core.store.digests import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.long]


def _with_second_recipe(project: Project) -> Project:
    text = project.recipe.read_text().replace('name = "momo"', 'name = "mimi"').replace("rank = 4", "rank = 2")
    project.recipe.with_name("second.toml").write_text(text)
    return project


def _loras(project: Project) -> dict[str, str]:
    return {
        str(path.relative_to(project.folder / "out")): file_digest(path)
        for path in (project.folder / "out").rglob("*.safetensors")
    }


def _deleting(project: Project, said: list[subprocess.CompletedProcess[str]], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        said.append(project.run("store", "gc", "--store", "store", "--days", "0", "--yes"))


def test_recipes_that_share_a_store_while_it_is_cleaned_come_to_the_bytes_of_one_after_the_other(
    tmp_path: Path, drawn: Path, api: str
) -> None:
    alone = _with_second_recipe(new_project(tmp_path / "alone", drawn, tmp_path / "prefect", api))
    for recipe in ("recipe.toml", "second.toml"):  # one after the other
        done = alone.run("run", recipe)
        assert done.returncode == 0, done.stderr
    shared = _with_second_recipe(new_project(tmp_path / "shared", drawn, tmp_path / "prefect", api))
    cleaned: list[subprocess.CompletedProcess[str]] = []
    ended = threading.Event()
    runs = [
        subprocess.Popen(
            shared.command("run", recipe),
            cwd=shared.folder,
            env=shared.environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for recipe in ("recipe.toml", "second.toml")
    ]
    cleaner = threading.Thread(target=_deleting, args=(shared, cleaned, ended))
    cleaner.start()
    told = [run.communicate()[1] for run in runs]
    ended.set()
    cleaner.join()
    assert [run.returncode for run in runs] == [0, 0], told
    assert _loras(shared) == _loras(alone)
    refused = [one for one in cleaned if "in use by process" in one.stderr]
    assert refused
    assert all(one.returncode == 2 and one.stderr.count("\n") == 1 for one in refused)
    others = [one for one in cleaned if one not in refused]  # before the runs came to their first step, and after
    assert all(one.returncode == 0 or "there is no store here" in one.stderr for one in others)
    verified = shared.run("store", "verify", "--store", "store")
    assert verified.returncode == 0, verified.stdout
