"""The command line as users meet it: one clear line for each mistake, exit status 2, nothing half-written."""

import json
import pickle
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image
from small_disk import SmallDisk
from small_project import Project

from demo.project import MODELS
from lora_core.recipe import PRESETS

BASE = str(MODELS / "base")


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit status 2, and one line on stderr that holds the words; no traceback."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("headcanon: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_the_version_is_told(project: Project) -> None:
    done = project.run("--version")
    assert (done.returncode, done.stdout.split()) == (0, ["headcanon", version("headcanon")])


def test_help_answers_with_every_command_and_loads_nothing_heavy(project: Project) -> None:
    done = project.run("--help")
    assert done.returncode == 0
    for command in (
        "demo",
        "run",
        "new",
        "look",
        "models",
        "preprocess",
        "tag",
        "caption",
        "merge",
        "sample",
        "inspect",
        "store",
    ):
        assert command in done.stdout
    check = "import sys; import flows.cli.app; assert not {'torch', 'prefect', 'diffusers'} & set(sys.modules)"
    command = [project.command()[0], "-c", check]
    assert subprocess.run(command, env=project.environment(), check=False).returncode == 0


def test_an_empty_folder_is_named(project: Project) -> None:
    for file in (project.folder / "character").iterdir():
        file.unlink()
    assert_refused(project.run("run", "recipe.toml"), "character", "put screenshots into it")
    assert not (project.folder / "out").exists()


def test_a_folder_that_is_not_there_is_named(project: Project) -> None:
    project.recipe.write_text(project.recipe.read_text().replace('style = "style"', 'style = "stile"'))
    assert_refused(project.run("run", "recipe.toml"), "stile", "no such folder")


def test_an_unknown_recipe_key_comes_with_the_nearest_known_one(project: Project) -> None:
    project.recipe.write_text(project.recipe.read_text().replace("[downscale]\nsize", "[downscale]\nsise"))
    assert_refused(project.run("run", "recipe.toml"), "recipe.toml", "'downscale.sise'", "did you mean 'size'?")


def test_a_base_that_is_a_pickle_is_refused_by_content_whatever_its_name(project: Project) -> None:
    (project.folder / "model.safetensors").write_bytes(pickle.dumps({"state_dict": {}}))
    text = project.recipe.read_text().replace(f"base = '{MODELS}/base'", 'base = "./model.safetensors"')
    project.recipe.write_text(text)
    assert_refused(project.run("run", "recipe.toml"), "model.safetensors", "pickle")


def test_a_force_of_an_unknown_step_names_the_known_ones(project: Project) -> None:
    assert_refused(project.run("run", "recipe.toml", "--force", "tagg"), "tagg", "'train style'")


def test_a_lora_that_does_not_fit_the_base_is_refused_and_nothing_is_written(project: Project, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    lora = tmp_path / "other.safetensors"
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_k"
    save_file({f"{name}.lora_down.weight": torch.ones(2, 8), f"{name}.lora_up.weight": torch.ones(8, 2)}, lora)
    assert_refused(project.run("merge", BASE, str(lora), "merged"), "other.safetensors", "sdxl")
    assert not (project.folder / "merged").exists()


def test_a_truncated_lora_is_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    assert_refused(project.run("inspect", str(tmp_path / "cut.safetensors")), "cut.safetensors")


def test_new_writes_a_recipe_that_is_valid_and_refuses_a_folder_with_something_in_it(project: Project) -> None:
    from lora_core.recipe_file import read_recipe

    done = project.run("new", "mine")
    assert done.returncode == 0, done.stderr
    recipe = read_recipe(project.folder / "mine" / "recipe.toml")
    assert recipe.name == "mine"
    assert (project.folder / "mine" / "character" / "upper_body").is_dir()
    assert_refused(project.run("new", "mine"), "mine", "not empty")


def test_new_asks_for_no_style_screenshots_where_no_look_is_learned(project: Project) -> None:
    done = project.run("new", "mine", "--method", "captions-only")
    assert done.returncode == 0, done.stderr
    assert "style" not in done.stdout
    assert [path.name for path in sorted((project.folder / "mine").iterdir())] == ["character", "recipe.toml"]


@pytest.mark.parametrize("method", PRESETS)
def test_the_commented_defaults_of_a_new_recipe_are_the_methods_defaults(project: Project, method: str) -> None:
    from lora_core.recipe_file import read_recipe

    done = project.run("new", "mine", "--method", method)
    assert done.returncode == 0, done.stderr
    path = project.folder / "mine" / "recipe.toml"
    plain = read_recipe(path)
    assert plain.method == method
    lines = path.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# Everything below"))
    opened = [line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in lines[start:]]
    path.write_text("\n".join([*lines[:start], *opened]))
    assert read_recipe(path) == plain


def test_single_steps_on_folders_hand_over_to_each_other(project: Project) -> None:
    done = project.run("preprocess", "character", "pictures", "--size", "128")
    assert done.returncode == 0, done.stderr
    with Image.open(project.folder / "pictures" / "portrait_002.png") as picture:
        assert (picture.size, picture.mode) == ((128, 128), "RGB")
    assert len(json.loads((project.folder / "pictures" / "report.json").read_text())["accepted"]) == 4
    done = project.run("tag", "pictures", "--model", str(MODELS / "tagger"), "--out", "tags.json")
    assert done.returncode == 0, done.stderr
    (project.folder / "captions.toml").write_text('trigger = "momo"\nmemorize = ["pink_hair", "cat_ears"]\n')
    done = project.run("caption", "pictures", "--tags", "tags.json", "--rules", "captions.toml", "--out", "dataset")
    assert done.returncode == 0, done.stderr
    caption = (project.folder / "dataset" / "portrait_002.txt").read_text()
    assert caption.startswith("momo, ")
    assert "portrait" in caption
    assert "pink hair" not in caption


def test_sample_draws_the_same_picture_for_the_same_seed(project: Project) -> None:
    options = ("--prompt", "1girl, solo", "--steps", "2", "--width", "128", "--height", "128", "--seed", "5")
    for folder in ("one", "two"):
        done = project.run("sample", BASE, *options, "--out", folder)
        assert done.returncode == 0, done.stderr
    assert (project.folder / "one/1-5.png").read_bytes() == (project.folder / "two/1-5.png").read_bytes()


def test_sample_draws_at_the_size_of_the_base_unless_it_is_told_another(project: Project) -> None:
    """The demo's base was trained at 128 px, a quarter of Stable Diffusion's 512, which is drawn at 512×768."""
    done = project.run("sample", BASE, "--prompt", "1girl", "--steps", "1", "--height", "136", "--out", "narrow")
    assert done.returncode == 0, done.stderr
    assert project.run("sample", BASE, "--prompt", "1girl", "--steps", "1", "--out", "own").returncode == 0
    sizes = [Image.open(project.folder / folder / "1-1.png").size for folder in ("narrow", "own")]
    assert sizes == [(128, 136), (128, 192)]


def test_a_store_on_a_full_disk_is_one_clear_line_and_leaves_no_half_file(
    project: Project, small_disk: SmallDisk
) -> None:
    disk = small_disk(256)
    done = project.run("preprocess", "character", "pictures", "--store", str(disk / "store"))
    assert_refused(done, "disk is full", str(disk))
    assert not list(disk.rglob("*.tmp"))
    assert not (project.folder / "pictures").exists()


@pytest.mark.slow
def test_an_unreadable_picture_stops_a_run_before_anything_is_trained(project: Project) -> None:
    (project.folder / "character" / "portrait_009.png").write_bytes(b"not a picture at all")
    assert_refused(project.run("run", "recipe.toml"), "portrait_009.png", "leave_out")
    assert not (project.folder / "out").exists()
