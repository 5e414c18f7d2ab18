"""Retraining from the version that was published last, in portrait buckets, through the command line."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from small_project import Project

pytestmark = [pytest.mark.slow, pytest.mark.long]


def started_with(project: Project, version: str) -> str:
    with safe_open(project.lora.parent.parent / version / f"{version}.safetensors", framework="numpy") as file:
        return str(file.metadata().get("headcanon.start", ""))


def test_a_further_version_begins_with_the_last_one_and_is_judged_as_any_other(project: Project, drawn: Path) -> None:
    lenient = "[publish]\nworse_identity = 1.0\nworse_leak = 1.0\n"
    recipe = project.recipe.read_text().replace("[character_training]\n", '[character_training]\nstart = "last"\n')
    project.recipe.write_text(recipe.replace("size = 128", 'size = 128\nshape = "portrait"') + lenient)
    first = project.run("run", "recipe.toml")
    assert first.returncode == 0, first.stderr
    assert started_with(project, "momo") == ""
    with safe_open(project.lora, framework="numpy") as file:  # the other character of the drawn world is narrow
        buckets = json.loads(file.metadata()["ss_bucket_info"])["buckets"].values()
    assert {(128, 128), (96, 96)} < {tuple(bucket["resolution"]) for bucket in buckets}
    narrow = {tuple(bucket["resolution"]) for bucket in buckets} - {(128, 128), (96, 96)}
    assert len(narrow) >= 2
    assert all(width < height for width, height in narrow)

    shutil.copy(drawn / "more" / "portrait_005.png", project.folder / "character")
    planned = project.run("run", "recipe.toml", "--as", "v2", "--dry-run")
    assert "It begins with momo.safetensors." in planned.stdout, planned.stderr
    second = project.run("run", "recipe.toml", "--as", "v2")
    assert second.returncode == 0, second.stderr
    assert started_with(project, "momo-v2") == "momo.safetensors"
    page = (project.lora.parent.parent / "momo-v2" / "report.html").read_text()
    assert "compared with momo: identity" in page
    assert "character LoRA, begun with momo.safetensors" in page

    again = project.run("run", "recipe.toml", "--as", "v2")
    assert again.returncode == 0, again.stderr
    assert "✓ train character" not in again.stderr

    top, section, rest = project.recipe.read_text().partition("[character_training]")
    changed = section + rest.replace("rank = 4", "rank = 8")
    project.recipe.write_text(top + changed)
    refused = project.run("run", "recipe.toml", "--as", "v3")
    assert refused.returncode == 2
    assert "was trained with another rank (4 there, 8 here)" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
