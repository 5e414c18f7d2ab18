"""`headcanon new`: what it writes is a recipe, with the numbers of its base's preset and what the person must know."""

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from flows.cli.app import app
from flows.cli.fitting import fit
from flows.cli.scaffold import write_new
from lora_core.bases.lineage import is_meant
from lora_core.bases.presets import base_preset, base_presets
from lora_core.diffusion.read import read_source
from lora_core.errors import CheckpointError, RecipeError, TaggerError
from lora_core.hub import find_model_files, find_tagger_files
from lora_core.recipe import Recipe
from lora_core.recipe_file import read_recipe

MARKS: dict[str, tuple[str, ...]] = {
    "sd1": (), "sd1-v": ("v_pred",), "sd1-v-zsnr": ("v_pred", "ztsnr"), "sd2": (), "sd2-v": ("v_pred",), "sdxl": (),
    "sdxl-v": ("v_pred",), "sdxl-v-zsnr": ("v_pred", "ztsnr"),
}  # fmt: skip
"""Kinds of bases, and the empty tensors by which files tell web UIs what they are."""
_WORDS = {"epsilon": "epsilon", "v_prediction": "v-prediction"}


def marked(workshop: Any, path: Path, kind: str) -> Path:
    """A file of that kind."""
    workshop.single_file(path, kind.partition("-")[0])
    if MARKS[kind]:
        save_file(load_file(path) | {mark: torch.zeros(()) for mark in MARKS[kind]}, path)
    return path


@pytest.fixture(scope="module")
def bases(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bases")
    workshop.single_file(folder / "anything-v5.safetensors", "sd1")
    workshop.single_file(folder / "illustriousXL_v01.safetensors", "sdxl")
    workshop.single_file(folder / "mine.safetensors", "sdxl")
    return folder


def new(folder: Path, base: Path, preset: str = "", method: Any = "note") -> tuple[str, Recipe]:
    said = write_new(folder, method, fit(str(base), preset))
    return said, read_recipe(folder / "recipe.toml")


@pytest.mark.parametrize(
    ("file", "preset"), [("anything-v5.safetensors", "sd15-nai"), ("illustriousXL_v01.safetensors", "illustrious")]
)
def test_a_new_recipe_has_its_bases_numbers_and_their_reasons(
    bases: Path, tmp_path: Path, file: str, preset: str
) -> None:
    said, recipe = new(tmp_path / "aiko", bases / file)
    text = (tmp_path / "aiko/recipe.toml").read_text()
    written, fitting = tomllib.loads(text), base_preset(preset)
    for section, options in fitting.sections.items():
        assert {name: written[section][name] for name in options} == dict(options)
    flat = " ".join(text.replace("\n# ", " ").split())
    assert all(reason in flat for key, reason in fitting.reasons.items() if not key.startswith("preset."))
    assert recipe.base.model == str(bases / file)
    assert said.startswith(f"{'SD1' if preset == 'sd15-nai' else 'SDXL'}, epsilon; taken for {fitting.title}: its name")


def test_without_a_base_the_recipe_is_the_methods(tmp_path: Path) -> None:
    said = write_new(tmp_path / "aiko")
    recipe = read_recipe(tmp_path / "aiko/recipe.toml")
    assert (
        recipe.character_training
        == Recipe.model_validate({"name": "any", "base": "any", "style": "any", "character": "any"}).character_training
    )
    assert "Name your base model" in said


def test_what_was_assumed_is_said_with_the_other_choices(bases: Path, tmp_path: Path) -> None:
    said, _ = new(tmp_path / "aiko", bases / "mine.safetensors")
    assert "nothing in its name, its metadata or its hash tells its family, so the plainest is assumed" in said
    assert "Other presets for it: animagine, illustrious, noobai, pony (--preset NAME)." in said


def test_a_base_without_a_vae_gets_a_line_for_one(bases: Path, tmp_path: Path) -> None:
    tensors = {name: each for name, each in load_file(bases / "mine.safetensors").items() if "first_stage" not in name}
    save_file(tensors, tmp_path / "animagine-xl-4.safetensors", {"note": "no VAE"})
    said, recipe = new(tmp_path / "aiko", tmp_path / "animagine-xl-4.safetensors", "")
    assert "It has no VAE: name the file of one that it was made with." in said
    assert "Name a VAE in" in said
    assert recipe.base.vae == str(tmp_path / "aiko/path/to/vae.safetensors")
    with pytest.raises(CheckpointError, match=r"there is no such VAE; name its \.safetensors file"):
        find_model_files(recipe.base.model, "", recipe.base.vae)


def test_a_preset_that_is_named_goes_before_the_files_name(bases: Path, tmp_path: Path) -> None:
    _, recipe = new(tmp_path / "aiko", bases / "illustriousXL_v01.safetensors", "pony")
    assert recipe.sampling.template.startswith("score_9, ")


def test_a_v_prediction_preset_is_written_where_the_file_does_not_say_it(bases: Path, tmp_path: Path) -> None:
    _, recipe = new(tmp_path / "aiko", bases / "mine.safetensors", "noobai-v")
    assert (recipe.base.prediction, recipe.base.zero_terminal_snr) == ("v_prediction", True)


def test_a_preset_that_a_person_chooses_when_asked_is_written_as_one_that_was_named(
    bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: "noobai-v")
    said, recipe = new(tmp_path / "aiko", bases / "mine.safetensors")
    assert said.startswith("SDXL, epsilon; taken for NoobAI XL, v-prediction: as you say.\nWrote")
    assert (recipe.base.prediction, recipe.base.zero_terminal_snr) == ("v_prediction", True)


@pytest.mark.parametrize("kind", MARKS)
def test_no_preset_that_is_offered_or_accepted_contradicts_what_a_base_says_of_itself(
    workshop: Any, tmp_path: Path, kind: str
) -> None:
    base = marked(workshop, tmp_path / "mine.safetensors", kind)
    shown = str(CliRunner().invoke(app, ["inspect", str(base)]).output)
    itself = read_source(find_model_files(str(base), ""))
    told = fit(str(base)).told
    predicts_v = {preset.name: preset.prediction == "v_prediction" for preset in base_presets()}
    for preset in base_presets():
        offered = re.search(rf"taken for {re.escape(preset.title)}:|[:,] {preset.name}[ ,]", told)
        assert not offered or f"predicts      {_WORDS[preset.prediction]}" in shown or kind.startswith("sd1-v")
        if not is_meant(preset, itself):
            assert not offered
            with pytest.raises(RecipeError, match=f"preset '{preset.name}' is not for it; take ") as refused:
                fit(str(base), preset.name)
            named = str(refused.value).rpartition("take ")[2].split(", ")
            assert {predicts_v[name] for name in named} == {itself.prediction == "v_prediction"} or kind[:5] == "sd1-v"
            continue
        read = read_source(find_model_files(str(base), ""), fit(str(base), preset.name).process)
        assert read.architecture == preset.architecture
        assert read.prediction == ("v_prediction" if kind.startswith("sd1-v") else preset.prediction)
        assert read.zero_terminal_snr >= itself.zero_terminal_snr


def test_a_name_that_says_v_of_a_file_that_does_not_is_told(bases: Path, tmp_path: Path) -> None:
    shutil.copy(bases / "mine.safetensors", tmp_path / "noobai_vpred_merge.safetensors")
    said, _ = new(tmp_path / "aiko", tmp_path / "noobai_vpred_merge.safetensors")
    assert "its name says v-prediction and nothing else in it does" in said
    assert "its name says v" not in new(tmp_path / "momo", tmp_path / "noobai_vpred_merge.safetensors", "noobai-v")[0]


def test_a_preset_of_another_architecture_is_refused_before_anything_is_written(bases: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"this is SDXL, epsilon, and preset 'sd15' is not for it; take animagine"):
        new(tmp_path / "aiko", bases / "mine.safetensors", "sd15")
    assert not (tmp_path / "aiko").exists()


def test_a_methods_own_numbers_go_before_the_bases(bases: Path, tmp_path: Path) -> None:
    base = bases / "illustriousXL_v01.safetensors"
    _, low = new(tmp_path / "low", base, method="note-low-rank")
    assert (low.character_training.rank, low.character_training.resolution) == (8, 1024)
    _, naive = new(tmp_path / "naive", base, method="naive")
    assert naive.captions.add == ()


def test_the_recipe_names_the_tagger_where_models_get_puts_it(
    bases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said, recipe = new(Path("aiko"), bases / "mine.safetensors")
    assert "2. headcanon models get wd-swinv2 --into aiko/models" in said
    assert recipe.tagger.model == str(tmp_path / "aiko/models/wd-swinv2")
    with pytest.raises(TaggerError, match=r"`headcanon models get wd-swinv2 --into .*aiko/models` gets it"):
        find_tagger_files(recipe.tagger.model, recipe.tagger.revision)
    (tmp_path / "models/wd-swinv2").mkdir(parents=True)
    said, recipe = new(Path("momo"), bases / "mine.safetensors")
    assert "models get" not in said
    assert recipe.tagger.model == str(tmp_path / "models/wd-swinv2")
