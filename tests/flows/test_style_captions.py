"""Style pictures with captions: everything is said of them but the look, in stage 1 and beside the character's."""

import json
import re

import pytest
from safetensors import safe_open
from small_project import Project

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_style_pictures_are_trained_with_words_for_all_but_the_look(project: Project) -> None:
    recipe = project.recipe.read_text().replace('style = "style"\n', "")
    project.recipe.write_text(f'{recipe}[style]\nimages = "style"\ncaptions = "tags"\n')
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^✓ caption:", done.stderr, re.MULTILINE)) == 2

    with safe_open(project.lora, framework="numpy") as file:
        said = json.loads(file.metadata()["ss_tag_frequency"])
    (words,) = (tags for folder, tags in said.items() if folder.endswith("hcstyle 1girl"))
    assert {"hcstyle", "1girl", "solo", "black hair"} <= set(words)
    assert not {"realistic", "3d", "nose", "lips"} & set(words)
    assert "share of pictures that show the style look" in (project.lora.parent / "report.html").read_text()

    plan = project.run("run", "recipe.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert re.search(r"^caption +style +cached$", plan.stdout, re.MULTILINE)
    assert "to do" not in plan.stdout


def test_style_pictures_that_nothing_is_trained_on_get_no_words(project: Project) -> None:
    recipe = project.recipe.read_text().replace('style = "style"\n', 'method = "captions-only"\n')
    project.recipe.write_text(f'{recipe}[style]\nimages = "style"\ncaptions = "tags"\n')
    done = project.run("run", "recipe.toml", "--until", "caption")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^✓ caption:", done.stderr, re.MULTILINE)) == 1
    assert not re.search(r"^caption +style", project.run("run", "recipe.toml", "--dry-run").stdout, re.MULTILINE)
