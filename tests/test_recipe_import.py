"""Configs of other trainers as recipes: what is taken over, what is not, and a line for that."""

import json
import random
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flows.cli.scaffold import write_new
from lora_core.errors import RecipeError
from lora_core.foreign_options import KOHYA, ONETRAINER
from lora_core.recipe import Recipe
from lora_core.recipe_file import read_recipe
from lora_core.recipe_import import Imported, nested, read_config

KOHYA_TOML = """
pretrained_model_name_or_path = "/models/anime.safetensors"
[network_arguments]
network_module = "networks.lora"
network_dim = 16
network_alpha = 8
network_args = ["conv_dim=8", "conv_alpha=4"]
[optimizer_arguments]
learning_rate = 1e-4
text_encoder_lr = 5e-5
optimizer_type = "AdamW8bit"
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
lr_scheduler = "cosine"
[training_arguments]
output_name = "aiko"
train_batch_size = 2
max_train_epochs = 12
max_train_steps = 1600
mixed_precision = "bf16"
resolution = "768,768"
cache_latents = true
flip_aug = true
[[datasets]]
batch_size = 3
[[datasets.subsets]]
num_repeats = 5
"""
GUI = {
    "LoRA_type": "LyCORIS/LoHa", "network_dim": 8, "network_alpha": "4", "unet_lr": 1.0, "text_encoder_lr": 1.0,
    "optimizer": "Prodigy", "optimizer_args": "weight_decay=0.01 decouple=True", "epoch": 20, "train_batch_size": 4,
    "max_resolution": "1024,1024", "seed": "", "lr_warmup": 10, "xformers": "xformers", "keep_tokens": "1",
}  # fmt: skip
ONE = {
    "training_method": "LORA", "base_model_name": "owner/name", "lora_rank": 16, "lora_alpha": 1.0, "epochs": 100,
    "learning_rate": 3e-4, "unet": {"train": True, "learning_rate": None}, "text_encoder": {"train": False},
    "optimizer": {"optimizer": "ADAMW", "weight_decay": 0.02}, "learning_rate_scheduler": "COSINE", "batch_size": 4,
    "train_dtype": "BFLOAT_16", "offset_noise_weight": 0.05, "resolution": "512", "learning_rate_warmup_steps": 200,
    "text_encoder_layer_skip": 1, "timestep_distribution": "LOGIT_NORMAL",
}  # fmt: skip


def read(folder: Path, name: str, config: object) -> Imported:
    path = folder / name
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return read_config(path)


def test_a_config_of_sd_scripts_is_taken_over(tmp_path: Path) -> None:
    found = read(tmp_path, "kohya.toml", KOHYA_TOML)
    ours = {key: value for key, value in found.settings.items() if not key.startswith("style_training.")}
    assert ours == {
        "name": "aiko",
        "base.model": "/models/anime.safetensors",
        "character_training.rank": 16,
        "character_training.alpha": 8,
        "character_training.network.conv_rank": 8,
        "character_training.network.conv_alpha": 4,
        "character_training.unet_lr": 1e-4,
        "character_training.text_encoder_lr": 5e-5,
        "character_training.optimizer": "adamw8bit",
        "character_training.weight_decay": 0.1,
        "character_training.scheduler": "cosine",
        "character_training.batch": 3,
        "character_training.repeats": 5,
        "character_training.epochs": 12,
        "character_training.precision": "bf16",
        "character_training.resolution": 768,
    }
    assert found.left_out == (
        "betas = 0.9,0.99: no such option here",
        "max_train_steps = 1600: training is counted in epochs here: [character_training] epochs",
        "flip_aug = True: no such option here",
        "not needed here: cache_latents",
    )
    assert found.settings["style_training.resolution"] == 768
    assert "style_training.rank" not in found.settings


def test_a_preset_of_kohyas_gui_is_taken_over(tmp_path: Path) -> None:
    found = read(tmp_path, "preset.json", GUI)
    here = {key.removeprefix("character_training."): value for key, value in found.settings.items()}
    assert (here["network.kind"], here["rank"], here["alpha"], here["optimizer"]) == ("loha", 8, 4, "prodigy")
    assert (here["unet_lr"], here["text_encoder_lr"], here["epochs"], here["resolution"]) == (1, 1, 20, 1024)
    assert found.left_out[0] == "decouple = True: no such option here"
    assert found.left_out[1] == "lr_warmup = 10: a share of all steps in the GUI; write warmup_steps"


def test_a_preset_of_onetrainer_is_taken_over(tmp_path: Path) -> None:
    found = read(tmp_path, "preset.json", ONE)
    here = {key.removeprefix("character_training."): value for key, value in found.settings.items()}
    assert (here["rank"], here["alpha"], here["epochs"], here["batch"], here["resolution"]) == (16, 1, 100, 4, 512)
    assert (here["unet_lr"], here["text_encoder_lr"]) == (3e-4, 0)
    assert (here["optimizer"], here["weight_decay"], here["scheduler"]) == ("adamw", 0.02, "cosine")
    assert (here["noise.offset"], here["base.clip_skip"], here["precision"]) == (0.05, 2, "bf16")
    assert found.left_out == (
        "timestep_distribution = LOGIT_NORMAL: no such option here",
        "not needed here: training_method",
    )


def test_the_recipe_that_new_writes_holds_them_and_says_where_they_are_from(tmp_path: Path) -> None:
    told = write_new(tmp_path / "a", "captions-only", taken=read(tmp_path, "kohya.toml", KOHYA_TOML))
    text = (tmp_path / "a" / "recipe.toml").read_text()
    recipe = read_recipe(tmp_path / "a" / "recipe.toml")
    assert (recipe.name, recipe.base.model, recipe.method) == ("aiko", "/models/anime.safetensors", "captions-only")
    assert (recipe.character_training.rank, recipe.character_training.network.conv_rank) == (16, 8)
    assert "# network_dim in kohya.toml\nrank = 16\n" in text
    assert told.startswith("Taken over from kohya.toml: base.model, character_training.alpha")
    assert "! not taken over: flip_aug = True: no such option here\n" in told


def test_a_method_with_a_rank_of_its_own_keeps_it_and_says_so(tmp_path: Path) -> None:
    told = write_new(tmp_path / "a", "note-low-rank", taken=read(tmp_path, "kohya.toml", KOHYA_TOML))
    assert read_recipe(tmp_path / "a" / "recipe.toml").character_training.rank == 8
    assert "! not taken over: network_dim in kohya.toml: method 'note-low-rank' has a character_training.rank" in told


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"network_dim": 4096}, "network_dim in c.json: character_training.rank = 4096: input should be less than"),
        ({"network_dim": "much"}, "network_dim = much: a number is needed"),
        ({"optimizer_type": "DAdaptAdam"}, "optimizer_type = DAdaptAdam: no such optimizer here; here are adamw,"),
        ({"lr_scheduler": "polynomial"}, "lr_scheduler = polynomial: no such schedule here; here are constant,"),
        ({"lr_warmup_steps": 0.1}, "lr_warmup_steps = 0.1: a share of all steps; here it is a number of steps"),
        ({"resolution": "512,768"}, "resolution = 512,768: pictures are trained as squares here: write one number"),
        ({"text_encoder_lr": [1e-5, 2e-5]}, "text_encoder_lr = [1e-05, 2e-05]: a rate for each text encoder"),
        ({"network_module": "networks.oft"}, "network_module = networks.oft: no such network here"),
        ({"noise_offset": 0.1, "multires_noise_iterations": 6}, "multires_noise_iterations in c.json: character_"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_over_has_a_line(tmp_path: Path, config: dict[str, Any], line: str) -> None:
    (told,) = read(tmp_path, "c.json", config).left_out
    assert told.startswith(line)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "null", "[" * 100_000])
def test_what_is_no_config_is_one_line(tmp_path: Path, text: str) -> None:
    for name in ("c.json", "c.toml"):
        with pytest.raises(RecipeError, match=rf"c\.{name[2:]}: ") as error:
            read(tmp_path, name, text)
        assert "\n" not in str(error.value)
    with pytest.raises(RecipeError, match="there is no such file"):
        read_config(tmp_path / "none.json")


def test_any_config_becomes_a_recipe_that_is_valid(tmp_path: Path) -> None:
    dice = random.Random(8)
    values: tuple[Any, ...] = (
        0,
        1,
        -1,
        8,
        "16",
        "",
        None,
        True,
        1e-4,
        "adamw",
        "fp16",
        "512,512",
        [1, 2],
        {},
        "x",
        1e99,
        "nan",
    )
    for number in range(500):
        names = dice.sample(sorted({*KOHYA, *ONETRAINER, "anything"}), 6)
        config = {name: dice.choice(values) for name in names} | {"network_dim" if number % 2 else "lora_rank": 4}
        found = read(tmp_path, "c.json", config)
        Recipe.model_validate(
            nested({"name": "a", "base.model": "b", "character.images": "c", "style.images": "s", **found.settings})
        )
        assert all("\n" not in line for line in found.left_out)


def test_what_is_written_is_toml_whatever_a_config_says(tmp_path: Path) -> None:
    for number, name in enumerate(('a "quoted" name', "back\\slash", "猫", "a'b")):
        folder = tmp_path / str(number)
        write_new(folder, taken=read(tmp_path, "c.json", {"network_dim": 4, "pretrained_model_name_or_path": name}))
        assert tomllib.loads((folder / "recipe.toml").read_text())["base"]["model"] == name
