"""`[merge] use = false`: the character straight on the base, to compare. Nothing of the style stage is run then."""

import json
import re

import pytest
from small_project import Project

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_without_merge_no_style_lora_is_trained_and_the_report_says_so(project: Project) -> None:
    recipe = project.recipe.read_text()
    project.recipe.write_text(recipe.replace("[captions]", "[merge]\nuse = false\n[captions]"))
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    steps = re.findall(r"^✓ ([a-z ]+):", done.stderr, re.MULTILINE)
    assert "train momo" in steps
    assert not {"train style", "check style", "merge", "check merge"} & set(steps)

    folder = project.lora.parent
    assert not (folder / "checks").exists()
    made = json.loads((folder / "report.json").read_text())["made"]
    assert (made["style_lora"], made["style_check"], made["merge_check"]) == (None, None, None)
    assert "straight on the base model" in (folder / "README.md").read_text()
    assert "merged" not in (folder / "report.html").read_text()

    plan = project.run("run", "recipe.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "Style LoRA" not in plan.stdout
    assert "to do" not in plan.stdout
    assert plan.stdout.count("cached") == 10
