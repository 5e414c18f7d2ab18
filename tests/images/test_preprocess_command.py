"""`headcanon preprocess` as users meet it."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from flows.cli.app import app
from lora_core.errors import DatasetError, RecipeError


@pytest.fixture
def run(screenshots: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    def preprocess(*options: str, dst: str = "pictures") -> Result:
        command = ["preprocess", str(screenshots), str(tmp_path / dst), "--store", str(tmp_path / "store"), *options]
        done = CliRunner().invoke(app, command, catch_exceptions=False, env={"COLUMNS": "200"})
        assert done.exit_code == 0
        return done

    return preprocess


def test_it_says_what_was_left_out_what_to_look_at_and_what_there_is(run, screenshots, shot, tmp_path):
    shot("portrait_1.png")
    shot("portrait_2.png", shift=1)
    shot("upper_body_1.png", shift=90)
    (screenshots / "cut.png").write_bytes((screenshots / "portrait_1.png").read_bytes()[:300])
    (screenshots / "Thumbs.db").write_bytes(b"x")
    said = run("--size", "128").stdout
    assert "left out cut.png: damaged or incomplete" in said
    assert "look at portrait_2.png: nearly the same as portrait_1.png" in said
    assert "portrait 11 (−9) 2" in " ".join(said.split())
    assert "3 pictures in" in said
    assert "1 left out, 1 other file" in said
    pictures = tmp_path / "pictures"
    assert Image.open(pictures / "portrait_1.png").size == (128, 128)
    assert {path.name for path in (pictures / "sheets").iterdir()} == {"accepted.png", "left_out.png"}
    assert json.loads((pictures / "report.json").read_text())["files"] == {"accepted": 3, "left_out": 2}


def test_run_again_after_adding_a_screenshot_it_brings_the_folder_up_to_date(run, shot, tmp_path):
    shot("portrait_1.png")
    run("--size", "64")
    shot("portrait_2.png", shift=50)
    assert "2 pictures in" in run("--size", "64").stdout
    assert (tmp_path / "pictures/portrait_2.png").exists()


def test_options_come_from_the_recipe_and_the_command_line_goes_before_it(run, shot, tmp_path):
    shot("portrait_1.png")
    shot("portrait_2.png")
    shot("portrait_3.png", shift=1)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "x"\nbase = "./b"\nstyle = "s"\ncharacter = "c"\n'
        "plan = { close-up = 0, portrait = 2, upper_body = 0, cowboy_shot = 0 }\n"
        '[preprocess]\nsize = 96\nnear_duplicates = "leave_out"\n'
    )
    said = run("--recipe", str(recipe), "--background", "#00ff00").stdout
    assert "nearly the same as portrait_1.png" in said
    assert "portrait 2 (−1) 1" in " ".join(said.split())
    picture = Image.open(tmp_path / "pictures/portrait_1.png")
    assert picture.size == (96, 96)
    assert picture.getpixel((0, 0)) == (0, 255, 0)


def test_with_a_recipe_its_store_is_taken_so_that_a_run_finds_the_pictures_prepared(screenshots, shot, tmp_path):
    shot("portrait_1.png")
    recipe = tmp_path / "project" / "recipe.toml"
    recipe.parent.mkdir()
    recipe.write_text('name = "x"\nbase = "./b"\nstyle = "s"\ncharacter = "c"\n[runtime]\nstore = "kept"\n')
    command = ["preprocess", str(screenshots), str(tmp_path / "pictures"), "--recipe", str(recipe)]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert (recipe.parent / "kept").is_dir()


def test_an_output_among_the_screenshots_is_refused(run, screenshots, shot):
    shot("a.png")
    with pytest.raises(DatasetError, match="the output must not lie in"):
        run(dst=str(screenshots / "out"))
    assert [path.name for path in screenshots.iterdir()] == ["a.png"]


def test_an_option_out_of_bounds_is_named(run, shot):
    shot("a.png")
    with pytest.raises(RecipeError, match="preprocess: size = 5"):
        run("--size", "5")


def test_a_tagger_reads_views_and_compositions_that_nobody_says(run, shot, tmp_path):
    from demo.project import MODELS

    shot("HS2_0001.png")
    run("--size", "128", "--tagger", str(MODELS / "tagger"))
    (entry,) = json.loads((tmp_path / "pictures/report.json").read_text())["accepted"]
    assert entry["view"] is not None
    assert (entry["composition"] is None) == any("in doubt" in flag for flag in entry["flags"])


def test_pictures_with_the_same_remark_are_told_in_one_line(run, screenshots):
    for number in range(5):
        picture = Image.new("RGB", (300, 300), "#dde6f0")
        picture.paste("#304060", (40 + 20 * number, 60, 200, 280 - 20 * number))
        picture.paste("#b03030", (60 + 30 * number, 90, 90 + 30 * number, 250 - 20 * number))  # no two equal halves
        picture.save(screenshots / f"IMG_{number}.png")
    said = run("--size", "64").stdout
    flag = "no transparency: its own background stays; export with a transparent one"
    assert f"look at IMG_0.png, IMG_1.png, IMG_2.png and 2 more: {flag}\n" in said
    assert "unknown: IMG_0.png, IMG_1.png, IMG_2.png and 2 more; say it in composition.csv" in said
    assert "5 to look at" in said
