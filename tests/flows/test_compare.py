"""`headcanon compare` from recipes to the page."""

import re

import pytest
from small_project import Project

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_two_recipes_and_a_broken_one_stand_side_by_side_and_nothing_is_done_twice(project: Project) -> None:
    text = project.recipe.read_text()
    variants = {
        "note": text,
        "weak": text.replace("unet_lr = 1e-3\ncheckpoint_minutes = 0.02\n[sampling]", "unet_lr = 1e-5\n[sampling]"),
        "broken": text.replace('character = "character"', 'character = "nowhere"'),
    }
    for name, recipe in variants.items():
        (project.folder / f"{name}.toml").write_text(recipe)
    assert variants["weak"] != text
    done = project.run("compare", "note.toml", "weak.toml", "broken.toml", "--out", "page.html")
    assert done.returncode == 0, done.stderr
    assert "= train style: cached" in done.stderr  # the second recipe's
    page = (project.folder / "page.html").read_text()
    told = re.search(r'<th scope="row">weak − note</th>\s*<td>(\d+)</td>', page)
    assert told, done.stderr
    assert int(told[1]) == 2  # two prompts, one seed
    assert "Failed: " in page
    assert "nowhere" in page
    assert "Differences, picture by picture" in page

    again = project.run("compare", "note.toml", "weak.toml", "--out", "again.html")
    assert again.returncode == 0, again.stderr
    assert not re.search(r"^[✓>] (train|sample|judge)", again.stderr, re.MULTILINE), again.stderr
    assert not (project.folder / "out").exists()  # a comparison publishes nothing


def test_one_recipe_alone_is_no_comparison(project: Project) -> None:
    done = project.run("compare", "recipe.toml")
    assert done.returncode == 2
    assert "headcanon: compare: give two recipes or more" in done.stderr
