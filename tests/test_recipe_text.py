"""Recipes as Windows, word processors and habits from other trainers write them."""

import os
import random
from pathlib import Path

import pytest

from lora_core.errors import RecipeError
from lora_core.recipe import Recipe
from lora_core.recipe_file import anchored, parse_recipe, read_recipe

PLAIN = 'name = "aiko"\nbase = "b.safetensors"\nstyle = "s"\ncharacter = "c"\n'
MINIMAL = {"name": "Aiko", "base": "models/sd15.safetensors", "style": "style", "character": "character"}
POSIX = pytest.mark.skipif(os.name == "nt", reason="such paths are good ones there")


def refusal(folder: Path, text: str | bytes) -> str:
    path = folder / "recipe.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError) as error:
        read_recipe(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_recipe_of_powershell_and_notepad_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "recipe.toml").write_bytes(PLAIN.replace("\n", "\r\n").replace("aiko", "猫").encode(encoding))
    assert read_recipe(tmp_path / "recipe.toml").name == "猫"


def test_a_recipe_in_another_encoding_is_told(tmp_path: Path) -> None:
    said = refusal(tmp_path, PLAIN.replace("aiko", "猫").encode("shift-jis"))
    assert said.endswith("it is neither UTF-8 nor UTF-16; save it as UTF-8")


@pytest.mark.parametrize(
    "path", [r"C:\Users\me\x.safetensors", r"D:\models\x", r"\\nas\models\x", r"models\x.safetensors"]
)
def test_backslashes_in_double_quotes_are_told_what_to_write(tmp_path: Path, path: str) -> None:
    said = refusal(tmp_path, f'name = "a"\nbase = "{path}"\nstyle = "s"\ncharacter = "c"\n')
    assert f"single quotes, '{path}'" in said or "single quotes, as 'C:" in said


def test_backslashes_that_toml_takes_for_a_line_end_are_told_too(tmp_path: Path) -> None:
    said = refusal(tmp_path, PLAIN.replace("b.safetensors", r"C:\new\table"))
    assert r"C:\new\table: in double quotes \n, \t and their like are control characters; write a path" in said


@POSIX
@pytest.mark.parametrize("path", [r"C:\Users\me\x.safetensors", "C:/models/x.safetensors", r"\\nas\models\x"])
def test_a_path_of_windows_is_refused_elsewhere_and_never_glued_to_the_recipes_folder(
    tmp_path: Path, path: str
) -> None:
    said = refusal(tmp_path, PLAIN.replace('"b.safetensors"', f"'{path}'"))
    assert said.startswith(f"{path}: a path of Windows, and this system is none; write its own path")
    assert ("under WSL /mnt/c/" in said) == path.startswith("C:")


@POSIX
def test_a_relative_path_with_backslashes_is_found(tmp_path: Path) -> None:
    recipe = anchored(parse_recipe(MINIMAL | {"base": r"models\sd15.safetensors"}, "r"), tmp_path)
    assert recipe.base.model == str(tmp_path / "models" / "sd15.safetensors")
    (tmp_path / r"models\sd15.safetensors").write_text("its name")
    recipe = anchored(parse_recipe(MINIMAL | {"base": r"models\sd15.safetensors"}, "r"), tmp_path)
    assert recipe.base.model == str(tmp_path / r"models\sd15.safetensors")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("name = “aiko”", 'the quotes are curly: write straight ones, "…"'),
        ("name = aiko", 'a text needs quotes: name = "…"'),
        ("publish.private = True", "write true or false in small letters"),
    ],
)
def test_what_toml_does_not_take_is_told_what_to_write(tmp_path: Path, line: str, hint: str) -> None:
    assert refusal(tmp_path, f"{line}\n").endswith(hint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"captions": {"add": "x, 3d"}}, "captions.add = 'x, 3d': not a list; write add = [\"x\", \"3d\"]"),
        ({"sampling": {"prompts": "a"}}, "sampling.prompts = 'a': not a list; write prompts = [\"a\"]"),
        ({"network_dim": 16}, "unknown option 'network_dim'; here it is rank, under [character_training]"),
        ({"train_batch_size": 2}, "unknown option 'train_batch_size'; here it is batch, under [character_training]"),
        ({"learning_rate": 1e-4}, "unknown option 'learning_rate'; write unet_lr and text_encoder_lr under [char"),
        ({"character_training": {"network_alpha": 1}}, "unknown option 'character_training.network_alpha'; here it"),
        ({"lora_rank": 4}, "unknown option 'lora_rank'; here it is rank, under [character_training]"),
        ({"reg_data_dir": "x"}, "unknown option 'reg_data_dir'; stage 1's screenshots are the regularization pictures"),
        ({"unet_lr": 1e-4}, "unknown option 'unet_lr'; it belongs under [style_training] or [character_training]"),
        ({"base": {"model": "b", "size": 8}}, "unknown option 'base.size'; it belongs under [preprocess]"),
        ({"pretrained_model_name_or_path": "x"}, "unknown option 'pretrained_model_name_or_path'; here"),
    ],
)  # fmt: skip
def test_habits_from_other_trainers_get_their_equivalents(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_recipe(MINIMAL | change, "r.toml")
    assert str(error.value).startswith(f"r.toml: {message}")


def test_thousands_of_damaged_recipes_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    dice = random.Random(3)
    path = tmp_path / "recipe.toml"
    bits = (
        '"',
        "'",
        "\\",
        "=",
        "[",
        "]",
        "\n",
        "C:\\",
        "“",
        "\x00",
        "é",
        "{",
        "rank = 8",
        "#",
        "add = 'x'",
        "9" * 30,
        "\ud800",
    )
    read, refused = 0, []
    for number in range(4000):
        text = PLAIN + "[character_training]\nrank = 8\n[captions]\nadd = ['x']\n"
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(text))
            text = text[:at] + dice.choice(bits) + text[at + dice.randrange(3) :]
        path.write_bytes(
            text.encode(dice.choice(("utf-8", "utf-16", "utf-16-le")) if number % 4 == 0 else "utf-8", "replace")
        )
        try:
            assert isinstance(read_recipe(path), Recipe)
            read += 1
        except RecipeError as error:
            refused.append(str(error))
    assert read > 50
    assert not [line for line in refused if "\n" in line]
