"""Several outfits of one character: each has its own words, learns what is worn, and is drawn, judged and reported."""

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open
from small_project import Project

from demo.world import TARGET, screenshots
from lora_core.captions.rules import Rules
from lora_core.captions.wardrobe import dressed
from lora_core.dataset import Entry, Manifest
from lora_core.errors import CaptionError, RecipeError
from lora_core.recipe import Outfit, Recipe
from lora_core.recipe_file import read_recipe
from lora_core.training.samples import TrainingSet, by_outfit, pictures_of

_ANY = {"name": "momo", "base": "any", "style": "any"}


def with_outfits(project: Project) -> None:
    """A folder named as sd-scripts names it, and one that the recipe names, beside screenshots of no outfit."""
    for color, garment, folder in (("red", "dress", "3_momo_dress 1girl"), ("green", "hoodie", "casual")):
        drawn = project.folder / f"all {garment}"
        screenshots(TARGET.wearing(garment, color), drawn, seed=5)  # type: ignore[arg-type]
        (project.folder / "character" / folder).mkdir()
        for name in ("portrait_002.png", "upper_body_003.png", "upper_body_004.png"):
            (drawn / name).rename(project.folder / "character" / folder / name)
    recipe = project.recipe.read_text().replace(
        'character = "character"\n',
        '[character]\nimages = "character"\noutfits = ["casual = momo hoodie: green hoodie, hoodie"]\n',
    )
    top, section, rest = recipe.partition("[character]")
    _, _, lines = rest.partition("]\n")
    project.recipe.write_text(f"{top}{lines}{section}{rest.partition(']')[0]}]\n")


@pytest.mark.slow
@pytest.mark.long
def test_every_outfit_is_learned_under_its_own_words_and_drawn_judged_and_reported(project: Project) -> None:
    with_outfits(project)
    plan = project.run("run", "recipe.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert re.search(r"^training, momo dress +3 +128 +3 +9 ", plan.stdout, re.MULTILINE), plan.stdout
    assert re.search(r"^training, momo hoodie +3 +128 +1 +3 ", plan.stdout, re.MULTILINE)
    assert re.search(r"^training, momo dress +3 +96 +6 +18 ", plan.stdout, re.MULTILINE)

    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    with safe_open(project.lora, framework="numpy") as file:
        metadata = file.metadata()
    said = {name: set(tags) for name, tags in json.loads(metadata["ss_tag_frequency"]).items() if "momo" in name}
    assert said.keys() == {
        "1_momo 128px", "3_momo momo dress 128px", "1_momo momo hoodie 128px",
        "2_momo 96px", "6_momo momo dress 96px", "2_momo momo hoodie 96px",
    }  # fmt: skip
    clothes = {"red dress", "dress", "green hoodie", "hoodie", "blue dress", "momo dress", "momo hoodie"}
    assert said["3_momo momo dress 128px"] & clothes == {"momo dress"}
    assert said["1_momo momo hoodie 128px"] & clothes == {"momo hoodie"}
    assert {"blue dress", "dress"} <= said["1_momo 128px"]  # elsewhere a dress is just a dress
    assert not {"momo dress", "momo hoodie"} & said["1_momo 128px"]
    assert metadata["ss_training_comment"] == "trigger: momo, momo dress, momo hoodie"

    report = json.loads((project.lora.parent / "report.json").read_text())
    asked = report["recipe"]["sampling"]["prompts"]
    shown = [prompt for prompt in asked if "momo " in prompt]
    assert shown == [f"{{trigger}}, {one}, 1girl, solo, upper body, smile" for one in ("momo hoodie", "momo dress")]
    for epoch in report["verdict"]["measured"]["epochs"]:
        assert sum("outfit" in picture["values"] for picture in epoch["pictures"]) == 2
    told = json.loads((project.lora.parent / "momo.json").read_text())["description"]
    assert told.endswith("Outfits, behind the trigger: momo hoodie, momo dress.")
    page = (project.lora.parent / "report.html").read_text()
    assert "<code>momo, momo dress</code>: dress, red dress, learned from 3 pictures" in page
    assert "| green hoodie, hoodie (3 pictures) | `momo hoodie` |" in (project.lora.parent / "README.md").read_text()


def test_the_words_of_an_outfit_stay_behind_the_trigger_and_small_copies_keep_their_share() -> None:
    entries = tuple(
        Entry(name=name, source=name, image="0" * 64, width=64, height=64, caption=("hcmomo", "a", "b"), **worn)
        for name, worn in (("x", {}), ("y", {"outfit": "momo_dress", "repeats": 25}), ("z", {"outfit": "momo_dress"}))
    )
    copies = TrainingSet(Manifest(entries=entries), 2, False, "", 64, "hcmomo")
    parted = by_outfit(copies, repeats=10)
    assert [(each.outfit, each.repeats, len(each.manifest.entries)) for each in parted] == [
        ("", 2, 1), ("momo_dress", 5, 1), ("momo_dress", 2, 1)
    ]  # fmt: skip
    assert [picture.called for picture in pictures_of(parted)] == [1, 2, 2]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("10_momo dress", Outfit(folder="f", words="momo dress", repeats=10)),
        ("10_momo_dress 1girl", Outfit(folder="f", words="momo dress", repeats=10)),
        ("1000_momo", Outfit(folder="f", words="momo", repeats=1000)),
        ("momo dress", Outfit(folder="f", words="momo dress")),
        ("2024_momo", Outfit(folder="f", words="2024 momo")),
        ("10_", Outfit(folder="f", words="10")),
        ("10_momo, dress", None),
        ("", None),
    ],
)
def test_a_folder_is_read_as_sd_scripts_names_it(folder: str, expected: Outfit | None) -> None:
    assert Outfit.of_words("f", folder) == expected


def test_folders_of_other_words_are_no_outfits_and_the_characters_own_word_only_repeats(tmp_path: Path) -> None:
    for name in ("20_momo", "5_momo dress", "1_front", "10_yuki dress", "momo hat"):
        (tmp_path / "shots" / name).mkdir(parents=True)
    (tmp_path / "recipe.toml").write_text('name = "momo"\nbase = "any"\nstyle = "any"\ncharacter = "shots"\n')
    recipe = read_recipe(tmp_path / "recipe.toml")
    assert [(one.folder, one.words, one.repeats) for one in recipe.wardrobe] == [
        ("20_momo", "", 20), ("5_momo dress", "momo dress", 5)
    ]  # fmt: skip
    first, *_, last = recipe.sampling.prompts
    assert last == first.replace("{trigger}", "{trigger}, momo dress")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('outfits = ["dress"]', "'dress' is no outfit; write FOLDER = WORDS"),
        ('outfits = ["../shots/hat = a"]', "'../shots/hat = a' is no outfit; write FOLDER = WORDS"),
        ('outfits = ["/ = a"]', "'/ = a' is no outfit"),
        ('outfits = ["dress = a", "dress = b"]', "two are in the folder 'dress'"),
        ('outfits = ["dress = a"]', "there is no folder 'dress' in"),
        ('outfits = ["hat = a"]\n[redraw]\nuse = true', "set [redraw] use = false"),
        ('[sampling]\nprompts = ["{outfit}"]', "all are for {outfit}, and the character has none"),
    ],
)
def test_an_outfit_that_cannot_be_is_refused_in_one_line(tmp_path: Path, more: str, told: str) -> None:
    (tmp_path / "shots" / "hat").mkdir(parents=True)
    file = tmp_path / "recipe.toml"
    file.write_text(f'name = "momo"\nbase = "any"\nstyle = "any"\n[character]\nimages = "shots"\n{more}\n')
    with pytest.raises(RecipeError) as refused:
        read_recipe(file)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_outfit_without_a_picture_is_refused_before_anything_is_trained() -> None:
    rules = Rules(outfits=(Outfit(folder="dress", words="momo dress"),))
    entry = Entry(name="x", source="dresses/x.png", image="0" * 64, width=64, height=64)
    with pytest.raises(
        CaptionError, match="no picture in 'dress' can be used, so 'momo dress' would stand for nothing"
    ):
        dressed(Manifest(entries=(entry,)), rules)


def test_prompts_for_outfits_are_drawn_once_for_each_and_not_without_any(tmp_path: Path) -> None:
    prompts = {"prompts": ["{trigger}, {outfit}, city", "{trigger}, forest"]}
    character = {"images": str(tmp_path), "outfits": ["a = momo a", "b = momo b"]}
    dressed = Recipe.model_validate({**_ANY, "character": character, "sampling": prompts})
    assert dressed.sampling.prompts == ("{trigger}, momo a, city", "{trigger}, momo b, city", "{trigger}, forest")
