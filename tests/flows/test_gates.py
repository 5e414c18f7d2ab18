"""Gates in the real flow: what a person would see in the pictures ends the run, with the figure and what helps."""

import re

import pytest
from small_project import Project

pytestmark = [pytest.mark.slow, pytest.mark.long]


def _words(text: str) -> str:
    """Without the terminal's line breaks."""
    return " ".join(text.split())


def test_a_style_lora_of_rank_one_and_one_epoch_ends_the_run_before_anything_is_merged(project: Project) -> None:
    text = project.recipe.read_text().replace('style = "off"', 'style = "auto"')
    text = text.replace("epochs = 2\nrank = 4\nalpha = 2", "epochs = 1\nrank = 1\nalpha = 1", 1)
    project.recipe.write_text(text)
    done = project.run("run", "recipe.toml")
    assert done.returncode == 2
    told = re.search(
        r"headcanon: style: share of pictures .* ([0-9.]+), at least 0\.75; train the style longer", done.stderr
    )
    assert told, done.stderr
    assert float(told[1]) < 0.75
    assert "merge:" not in done.stderr
    assert not project.lora.exists()


def test_a_forgotten_hair_colour_ends_the_run_before_anything_is_trained(project: Project) -> None:
    project.recipe.write_text(project.recipe.read_text().replace('memorize = ["pink_hair", ', "memorize = ["))
    done = project.run("run", "recipe.toml")
    assert done.returncode == 2
    told = "pink hair stands in 4 of 4 captions, so that the trigger does not learn it: put it under memorize"
    assert f"headcanon: captions: 1 rule violation (caption rules: {told}" in done.stderr
    assert "`headcanon caption RECIPE --check` names them all" in done.stderr
    assert "check style" not in done.stderr
