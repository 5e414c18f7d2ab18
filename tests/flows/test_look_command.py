"""`headcanon look` on the demo's base, which was trained on the look with its words: it knows them."""

import json

import pytest
from PIL import Image
from small_project import Project

from demo.project import MODELS

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_a_base_that_was_trained_with_words_for_the_look_is_found_to_know_them(project: Project) -> None:
    words = ("--word", "realistic, 3d, nose, lips", "--word", "hat")
    asked = ("look", f"{MODELS}/base", "--screenshots", "character", "--tagger", f"{MODELS}/tagger", "--seeds", "2")
    done = project.run(*asked, *words)
    assert done.returncode == 0, done.stderr
    report = json.loads((project.folder / "look/look.json").read_text())
    known, unknown = report["moves"]
    assert known["share"]["low"] > 0.5
    assert unknown["share"]["high"] < 0.2
    assert report["method"] == "captions-only"
    assert "Suits this base: the base knows the look by name" in done.stdout
    assert 'In the recipe: method = "captions-only"; and use = true under [redraw]' in done.stdout
    with Image.open(project.folder / "look/look.png") as grid:
        assert grid.width > 3 * 96
    again = project.run(*asked, *words)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


def test_what_is_missing_is_one_line(project: Project) -> None:
    refused = project.run("look", f"{MODELS}/base", "--screenshots", "nowhere", "--tagger", f"{MODELS}/tagger")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "nowhere" in refused.stderr
