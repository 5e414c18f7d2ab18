"""`method = "difference"`: a LoRA of look and character minus one of the look, for real on the demo world."""

import json
import re
from pathlib import Path

import pytest
import torch
from small_project import Project, new_project

from lora_core.lora.file import read_lora
from lora_core.lora.inspect import inspect_file
from lora_core.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, drawn: Path, prefect_home: Path, api: str) -> Project:
    """A project that was run once."""
    project = new_project(tmp_path_factory.mktemp("difference") / "project", drawn, prefect_home, api)
    recipe = project.recipe.read_text().replace("base =", 'method = "difference"\nbase =', 1)
    project.recipe.write_text(recipe.replace("[sampling]", "[difference]\nrank = 3\n[sampling]"))
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    steps = set(steps_done(done.stderr))
    assert {"train style", "check style", "train character", "subtract"} <= steps
    assert not {"merge", "check merge"} & steps
    return project


def steps_done(stderr: str) -> tuple[str, ...]:
    """Steps that were not cached, by the line each prints at its end."""
    return tuple(re.findall(r"^✓ ([a-z ]+):", stderr, re.MULTILINE))


def test_the_published_lora_is_the_nearest_of_its_rank_to_the_difference_of_both(finished: Project) -> None:
    made = json.loads(inspect_file(finished.lora).metadata["headcanon.made"])
    assert (made["how"], made["rank"]) == ("subtract", 3)
    assert [source["weight"] for source in made["sources"]] == [1.0, -1.0]
    store = Store(finished.folder / "store")
    whole, style = (read_lora(store.path(source["sha256"])) for source in made["sources"])
    found = read_lora(finished.lora)
    assert found.modules.keys() == whole.modules.keys() == style.modules.keys()
    for name, module in found.modules.items():
        difference = change(whole.modules[name]) - change(style.modules[name])
        left, values, right = torch.linalg.svd(difference, full_matrices=False)
        nearest = (left[:, :3] * values[:3]) @ right[:3]
        assert module.rank == 3
        distance = float((change(module) - difference).norm())
        assert distance <= float((nearest - difference).norm()) + 2e-3 * float(values[0])  # what fp16 rounds
    published = finished.lora.parent / "checks" / "style-lora" / "style.safetensors"
    assert store.path(made["sources"][1]["sha256"]).read_bytes() == published.read_bytes()


def change(module: object) -> torch.Tensor:
    """alpha / rank · up · down, in fp64."""
    up, down = module.up.double().flatten(1), module.down.double().flatten(1)  # type: ignore[attr-defined]
    return module.scale * up @ down  # type: ignore[attr-defined]


def test_every_epoch_is_a_difference_and_the_report_says_how_it_was_made(finished: Project) -> None:
    folder = finished.lora.parent
    for name in ("momo-000001", "momo"):
        metadata = inspect_file(folder / "epochs" / f"{name}.safetensors").metadata
        assert metadata["ss_network_dim"] == "3"
        assert metadata["modelspec.trigger_phrase"] == "momo"
    assert not (folder / "checks" / "merge").exists()
    assert "This is the second minus the first" in (folder / "README.md").read_text()
    assert "merged" not in (folder / "report.html").read_text()
    assert json.loads((folder / "report.json").read_text())["recipe"]["method"] == "difference"


def test_all_of_it_is_cached_and_the_dry_run_says_so(finished: Project) -> None:
    again = finished.run("run", "recipe.toml")
    assert again.returncode == 0, again.stderr
    assert steps_done(again.stderr) == ()
    plan = finished.run("run", "recipe.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "method difference: a LoRA of look and character minus a LoRA of the look" in plan.stdout
    assert "Then the style LoRA is subtracted from it at strength 1; rank 3 is kept." in plan.stdout
    assert "to do" not in plan.stdout
    assert re.search(r"^subtract +cached$", plan.stdout, re.MULTILINE)


def test_another_strength_trains_nothing_again(finished: Project) -> None:
    other = finished.folder / "other.toml"
    other.write_text(finished.recipe.read_text().replace("rank = 3", "rank = 3\nweight = 0.8"))
    again = finished.run("run", "other.toml", "--out", "elsewhere", "--until", "sample")
    assert again.returncode == 0, again.stderr
    assert steps_done(again.stderr) == ("subtract", "sample epochs")
