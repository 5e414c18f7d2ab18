"""The character straight on the base: nothing of the style stage is run then, and no style screenshots are needed."""

import json
import re
import shutil

import pytest
from small_project import Project

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_without_merge_no_style_lora_is_trained_and_the_report_says_so(project: Project) -> None:
    recipe = project.recipe.read_text()
    project.recipe.write_text(recipe.replace("[captions]", "[merge]\nuse = false\n[captions]"))
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    steps = re.findall(r"^✓ ([a-z ]+):", done.stderr, re.MULTILINE)
    assert "train character" in steps
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


def test_captions_only_needs_no_style_screenshots(project: Project) -> None:
    recipe = project.recipe.read_text().replace('style = "style"\n', 'method = "captions-only"\n')
    assert 'style = "style"' not in recipe
    project.recipe.write_text(recipe)
    shutil.rmtree(project.folder / "style")
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    assert "style" not in done.stderr
    folder = project.lora.parent
    report = json.loads((folder / "report.json").read_text())
    assert report["made"]["style_squares"] is None
    assert report["coverage"]["sets"] == ["character"]
    assert "Style screenshots" not in (folder / "report.html").read_text()

    plan = project.run("run", "recipe.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "style" not in plan.stdout
    assert "to do" not in plan.stdout

    project.recipe.write_text(recipe.replace('method = "captions-only"\n', ""))
    refused = project.run("run", "recipe.toml")
    assert refused.returncode == 2
    assert "recipe.toml: 'style' is missing: method 'note' learns the look" in refused.stderr
