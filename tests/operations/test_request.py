"""From a form to a recipe: the preset's keys, under those beside the screenshots, under what the form says."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from flows.place import AllowedFolders
from flows.request import (
    _OWNERS_ONLY,
    _PATHS,
    _TRAININGS,
    _WHERE,
    checked,
    chosen_in_form,
    recipe_of,
    recipe_of_run,
    shared_recipe,
)
from flows.train_character_full import train_character_full
from lora_core.errors import RecipeError
from lora_core.recipe import Base, Character, Recipe, Runtime, Style

_PRESET = """
name = "somebody"
trigger = "somebody"
base = "../models/base.safetensors"
character = "whoever"
[style]
images = "/mnt/style"
class_word = "1boy"
[captions]
drop = ["smile"]
add = ["realistic"]
[character_training]
rank = 8
[runtime]
out = "/somewhere/else"
device = "cpu"
processes = 2
[runtime.speed]
deterministic = true
"""


@pytest.fixture
def place(tmp_path: Path) -> AllowedFolders:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "default.toml").write_text(_PRESET)
    (tmp_path / "characters" / "momo").mkdir(parents=True)
    return AllowedFolders(home=str(tmp_path))


def test_a_character_without_a_recipe_takes_everything_but_itself_from_the_preset(place: AllowedFolders) -> None:
    recipe = recipe_of(place, "momo")
    assert (recipe.name, recipe.trigger) == ("momo", "hcmomo")
    assert recipe.character.images == str(place.folder / "characters/momo")
    assert recipe.base.model == str(place.folder / "models/base.safetensors")
    assert (recipe.style.images, recipe.style.class_word) == ("/mnt/style", "1boy")
    assert recipe.character_training.rank == 8


def test_the_form_s_options_go_over_the_character_s_and_these_over_the_preset_s(place: AllowedFolders) -> None:
    own = place.folder / "characters/momo/recipe.toml"
    own.write_text("[character_training]\nrank = 16\nepochs = 3\n")
    recipe = recipe_of(place, "momo", options={"character_training": {"rank": 4}, "method": "captions-only"})
    assert (recipe.character_training.rank, recipe.character_training.epochs) == (4, 3)
    assert (recipe.method, recipe.merge.use, recipe.style.class_word) == ("captions-only", False, "1boy")
    with pytest.raises(RecipeError, match=r"recipe\.toml and the form: character_training\.rank"):
        recipe_of(place, "momo", options={"character_training": {"rank": 0}})


def test_results_go_where_the_worker_keeps_them_whatever_a_recipe_says(place: AllowedFolders) -> None:
    recipe = recipe_of(place, "momo")
    assert recipe.runtime.out == str(place.folder / "out")
    assert recipe.runtime.store == str(place.folder / ".headcanon")


def test_how_fast_it_may_be_is_the_recipes(place: AllowedFolders) -> None:
    assert recipe_of(place, "momo").runtime.speed.deterministic
    assert shared_recipe(place, "default").runtime.speed.deterministic


def test_how_many_processes_train_is_the_recipes(place: AllowedFolders) -> None:
    assert (recipe_of(place, "momo").runtime.device, recipe_of(place, "momo").runtime.processes) == ("cpu", 2)
    assert shared_recipe(place, "default").runtime.processes == 2
    (place.folder / "characters/momo/recipe.toml").write_text("[runtime]\nprocesses = 4\n")
    assert recipe_of(place, "momo").runtime.processes == 4


def test_a_recipe_beside_the_screenshots_goes_over_the_preset_key_by_key(place: AllowedFolders) -> None:
    own = place.folder / "characters/momo/recipe.toml"
    own.write_text('trigger = "momo"\nmethod = "note-low-rank"\n[captions]\nmemorize = ["pink_hair"]\nadd = []\n')
    recipe = recipe_of(place, "momo")
    assert recipe.trigger == "momo"
    assert (recipe.captions.memorize, recipe.captions.drop, recipe.captions.add) == (("pink_hair",), ("smile",), ())
    assert recipe.character_training.rank == 8  # the preset's own key wins over the method's
    assert recipe.character_training.alpha == pytest.approx(4.0)


def test_relative_paths_are_taken_from_the_folder_of_the_file_that_names_them(place: AllowedFolders) -> None:
    own = place.folder / "characters/momo/recipe.toml"
    own.write_text('style = "style"\ncharacter = "shots"\n')
    recipe = recipe_of(place, "momo")
    assert recipe.style.images == str(own.parent / "style")
    assert recipe.style.class_word == "1girl"  # the short form replaces the section
    assert recipe.character.images == str(own.parent / "shots")
    assert recipe.base.model == str(place.folder / "models/base.safetensors")


@pytest.mark.parametrize(
    "line", ['style = "/etc"', 'base = "../../../x.safetensors"', '[captions]\nrules = "/etc/passwd"']
)
def test_a_recipe_beside_screenshots_may_not_name_what_lies_outside(place: AllowedFolders, line: str) -> None:
    (place.folder / "characters/momo/recipe.toml").write_text(line + "\n")
    with pytest.raises(RecipeError, match="outside of the folders"):
        recipe_of(place, "momo")


@pytest.mark.parametrize("line", ['repository = "thief/momo"', "private = false", 'token_block = "somebodys"'])
def test_a_recipe_beside_screenshots_sends_nothing_away_and_names_no_secret(place: AllowedFolders, line: str) -> None:
    own = place.folder / "characters/momo/recipe.toml"
    own.write_text(f"[publish]\n{line}\n")
    field = line.split(" = ")[0]
    with pytest.raises(RecipeError, match=rf"recipe\.toml: publish\.{field} is not a character's to set") as refused:
        recipe_of(place, "momo")
    assert "\n" not in str(refused.value)
    own.write_text(f"publish = {{ {line} }}\n")
    with pytest.raises(RecipeError, match=field):
        recipe_of(place, "momo")


@pytest.mark.parametrize("section", ["style_training", "character_training"])
def test_an_optimizer_s_class_is_named_by_presets_alone(place: AllowedFolders, section: str) -> None:
    own, preset = place.folder / "characters/momo/recipe.toml", place.folder / "recipes/coded.toml"
    without = _PRESET.replace("[character_training]\nrank = 8\n", "")
    preset.write_text(without + f'[{section}]\noptimizer = "torch.optim.RAdam"\n')
    named = recipe_of(place, "momo", preset="coded")
    assert getattr(named, section).optimizer == "torch.optim.RAdam"
    with pytest.raises(RecipeError, match=rf"the form: {section}\.optimizer = 'torch\.optim\.RAdam' names a class"):
        checked(place, named)
    own.write_text(f'[{section}]\noptimizer = "os.system"\n')
    with pytest.raises(RecipeError, match=rf"recipe\.toml: {section}\.optimizer = 'os\.system' names a class"):
        recipe_of(place, "momo")
    own.write_text(f'[{section}]\noptimizer = "lion"\n')
    assert getattr(recipe_of(place, "momo"), section).optimizer == "lion"


def test_what_is_published_where_is_the_preset_s_to_say(place: AllowedFolders) -> None:
    preset = place.folder / "recipes/default.toml"
    preset.write_text(_PRESET + '[publish]\nrepository = "me/loras"\ntoken_block = "mine"\n')
    (place.folder / "characters/momo/recipe.toml").write_text('[publish]\nlicence = "mit"\n')
    publish = recipe_of(place, "momo").publish
    assert (publish.repository, publish.token_block, publish.licence) == ("me/loras", "mine", "mit")


def _texts(model: type[BaseModel], within: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is not None:
            yield from _texts(inner, f"{within}{name}.")
        elif str in kinds:
            yield f"{within}{name}"


def test_every_text_of_a_recipe_is_known_to_be_a_path_the_owner_s_or_harmless() -> None:
    """A new option has to be put into one of these before this test passes."""
    paths = {f"{section}.{field}" for section, field in _PATHS}
    owners = {f"{section}.{field}" for section, field in _OWNERS_ONLY}
    workers = {f"runtime.{field}" for field in _WHERE}
    words = {
        "name", "trigger", "base.revision", "tagger.revision", "tagger.tag_thresholds", "style.identifier",
        "style.class_word", "preprocess.background", "captions.memorize", "captions.outfit", "captions.drop",
        "captions.add", "captions.face", "character.outfits", "character_training.network.block_lr",
        "style_training.network.block_lr", "sampling.prompts", "sampling.style_prompts", "sampling.negative",
        "sampling.template", "character_training.network.block_rank", "style_training.network.block_rank",
        "redraw.prompt", "redraw.traits", "redraw.clothes", "redraw.poses", "redraw.scenes",
        "judging.classifier_label", "publish.licence", "publish.version",
    }  # fmt: skip
    code = {f"{section}.{field}" for section in _TRAININGS for field in ("optimizer", "optimizer_args")}
    found = set(_texts(Recipe))
    assert found - paths - workers - words - code <= owners
    assert found >= paths | workers | words | (owners - {"publish.private"})


@pytest.mark.parametrize(("section", "field"), _PATHS)
@pytest.mark.parametrize("path", ["/etc/passwd", "../../../outside", "~root/x"])
def test_no_path_of_a_recipe_beside_screenshots_leads_out(
    place: AllowedFolders, section: str, field: str, path: str
) -> None:
    value = f'["{path}"]' if field in ("transfer", "more") else f'"{path}"'
    (place.folder / "characters/momo/recipe.toml").write_text(f"[{section}]\n{field} = {value}\n")
    with pytest.raises(RecipeError, match="outside of the folders"):
        recipe_of(place, "momo")


def test_a_recipe_that_is_a_link_out_of_the_home_is_refused(
    place: AllowedFolders, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "recipe.toml"
    elsewhere.write_text("")
    (place.folder / "characters/momo/recipe.toml").symlink_to(elsewhere)
    with pytest.raises(RecipeError, match="outside of the folders"):
        recipe_of(place, "momo")


@pytest.mark.parametrize("form", [{"folder": "../other"}, {"base": "/elsewhere/base.safetensors"}, {"preset": "../x"}])
def test_a_form_may_not_name_what_lies_outside(place: AllowedFolders, form: dict[str, str]) -> None:
    with pytest.raises(RecipeError):
        recipe_of(place, "momo", **form)


@pytest.mark.parametrize("name", ["../momo", "a/b", "..", ""])
def test_a_character_is_a_name_and_no_path(place: AllowedFolders, name: str) -> None:
    with pytest.raises(RecipeError):
        recipe_of(place, name)


def test_the_form_s_base_goes_over_the_recipe_s(place: AllowedFolders) -> None:
    assert recipe_of(place, "momo", base="models/other.safetensors").base.model == str(
        place.folder / "models/other.safetensors"
    )


def test_a_recipe_with_a_base_and_a_style_of_its_own_needs_no_preset(place: AllowedFolders) -> None:
    (place.folder / "recipes/default.toml").unlink()
    with pytest.raises(RecipeError, match="preset 'default'"):
        recipe_of(place, "momo")
    (place.folder / "characters/momo/recipe.toml").write_text('base = "./b.safetensors"\nstyle = "style"\n')
    assert recipe_of(place, "momo").base.model == str(place.folder / "characters/momo/b.safetensors")


def test_a_preset_stands_for_no_character(place: AllowedFolders) -> None:
    recipe = shared_recipe(place, "default")
    assert recipe.name == "style"
    assert recipe.character.images == recipe.style.images == "/mnt/style"


def test_the_full_form_s_paths_lie_in_the_home_too(place: AllowedFolders) -> None:
    inside = Recipe.model_validate({"name": "momo", "base": "./models/b.safetensors", "style": "s", "character": "c"})
    shared = inside.model_copy(update={"runtime": Runtime(processes=2, out="/elsewhere")})
    assert checked(place, shared).runtime == checked(place, inside).runtime.model_copy(update={"processes": 2})
    assert checked(place, inside).style.images == str(place.folder / "s")
    assert checked(place, inside).runtime.out == str(place.folder / "out")
    outside = inside.model_copy(update={"style": Style(images="/etc")})
    with pytest.raises(RecipeError, match=r"style\.images"):
        checked(place, outside)


def test_a_preset_that_learns_no_look_names_no_style_screenshots(place: AllowedFolders) -> None:
    (place.folder / "recipes" / "plain.toml").write_text('method = "captions-only"\nbase = "b.safetensors"\n')
    recipe = recipe_of(place, "momo", preset="plain")
    assert (recipe.style.images, recipe.character.images) == ("", str(place.folder / "characters" / "momo"))
    assert not shared_recipe(place, "plain").needs_style


def test_a_recipe_of_ones_own_with_a_base_and_no_look_needs_no_preset(place: AllowedFolders) -> None:
    (place.folder / "recipes" / "default.toml").unlink()
    own = place.folder / "characters" / "momo" / "recipe.toml"
    own.write_text('method = "captions-only"\nbase = "../../models/b.safetensors"\n')
    assert recipe_of(place, "momo").base.model == str(place.folder / "models" / "b.safetensors")
    own.write_text('base = "../../models/b.safetensors"\n')
    with pytest.raises(RecipeError, match="'style' is missing"):
        recipe_of(place, "momo")


def test_a_full_form_that_contradicts_itself_ends_with_one_line(
    place: AllowedFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADCANON_HOME", str(place.folder))
    state = train_character_full.fn("momo", Base(model="b"), Style(), Character(images="characters/momo"))
    assert str(state.message).startswith("form: 'style' is missing: method 'note' learns the look")


def test_a_family_of_bases_in_the_place_of_a_preset_gives_the_numbers_that_default_leaves_out(
    place: AllowedFolders,
) -> None:
    recipe = recipe_of(place, "momo", preset="pony")
    assert recipe.base.model == str(place.folder / "models/base.safetensors")
    assert (recipe.base.clip_skip, recipe.sampling.width) == (2, 832)
    assert recipe.sampling.template.startswith("score_9, ")
    assert (recipe.character_training.rank, recipe.character_training.resolution) == (8, 1024)  # default's own; Pony's
    assert recipe.captions.add == ("realistic",)  # default's own
    assert shared_recipe(place, "pony").sampling == recipe.sampling


def test_a_recipe_called_after_a_family_is_that_recipe(place: AllowedFolders) -> None:
    (place.folder / "recipes/pony.toml").write_text(_PRESET)
    assert recipe_of(place, "momo", preset="pony").sampling == recipe_of(place, "momo").sampling


def test_what_a_run_was_started_with_is_its_recipe_and_a_choice_by_hand_changes_only_what_is_published(
    place: AllowedFolders,
) -> None:
    short = {"character": "momo", "folder": "", "preset": "default", "base": ""}
    assert recipe_of_run(place, short) == recipe_of(place, "momo")
    options = {**short, "options": {"character_training__rank": 4, "captions__outfit": []}, "force": ["tag"]}
    assert recipe_of_run(place, options) == recipe_of(place, "momo", options={"character_training": {"rank": 4}})
    full = {
        "name": "momo", "base": {"model": "base.safetensors"}, "style": {"images": "style"}, "until": "sample",
        "character": {"images": "characters/momo"}, "character_training": {"rank": 4}, "gates": {"epoch": "ask"},
    }  # fmt: skip
    assert recipe_of_run(place, full).character_training.rank == 4
    for said in (short, options, full):
        chosen = chosen_in_form(said, 2, 0.8)
        assert chosen.get("until", "publish") == "publish"
        assert not chosen["force"]
        assert recipe_of_run(place, chosen).character_training == recipe_of_run(place, said).character_training
    gates, judging = (
        getattr(recipe_of_run(place, chosen_in_form(full, 2, 0.8)), name) for name in ("gates", "judging")
    )
    assert (gates.epoch, gates.successor, judging.epoch, judging.weight) == ("ask", "off", 2, 0.8)
