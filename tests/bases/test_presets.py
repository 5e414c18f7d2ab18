"""The presets of bases: whole, sourced, and as the page says."""

import re
from pathlib import Path

import pytest

from lora_core.bases.presets import BasePreset, base_preset, base_presets
from lora_core.errors import RecipeError
from lora_core.recipe import Recipe

_PAGE = (Path(__file__).parents[2] / "docs/bases.md").read_text()
_PRESETS = pytest.mark.parametrize("preset", base_presets(), ids=lambda preset: preset.name)
_ALL = {"name": "any", "style": "style", "character": "character"}
_NEEDED = {
    "captions": ("add", "face"),
    "downscale": ("size", "repeats"),
    "style_training": (
        "resolution", "repeats", "epochs", "rank", "alpha", "unet_lr", "text_encoder_lr", "batch", "scheduler",
    ),
    "character_training": (
        "resolution", "repeats", "epochs", "rank", "alpha", "unet_lr", "text_encoder_lr", "batch", "scheduler",
    ),
    "sampling": ("template", "negative", "steps", "cfg", "scheduler", "width", "height"),
}  # fmt: skip


def recipe_of(preset: BasePreset) -> Recipe:
    base = {"model": "base.safetensors", **preset.sections.get("base", {})}
    return Recipe.model_validate({**_ALL, **preset.sections, "base": base})


@_PRESETS
def test_a_preset_is_a_part_of_a_recipe(preset: BasePreset) -> None:
    recipe = recipe_of(preset)
    assert recipe.sampling.width == preset.sections["sampling"]["width"]


@_PRESETS
def test_a_preset_says_every_number_that_a_base_decides(preset: BasePreset) -> None:
    for section, names in _NEEDED.items():
        assert set(names) <= set(preset.sections[section]), section


@_PRESETS
def test_every_number_has_its_reason_and_every_source_is_on_the_page(preset: BasePreset) -> None:
    keys = {f"{section}.{key}" for section, options in preset.sections.items() for key in options}
    assert keys == {key for key in preset.reasons if not key.startswith("preset.")}
    for reason in preset.reasons.values():
        for source in re.findall(r"\[([\w-]+)\]", reason):
            assert f"| [{source}] |" in _PAGE


@_PRESETS
def test_the_page_has_the_presets_numbers(preset: BasePreset) -> None:
    trained, drawn = preset.sections["character_training"], preset.sections["sampling"]
    row = next(line for line in _PAGE.splitlines() if line.startswith(f"| `{preset.name}` | {preset.title} |"))
    for shown in (
        f"{trained['resolution']}, copies {preset.sections['downscale']['size']}",
        f"{trained['batch']} · {preset.sections['style_training']['repeats']} · {trained['repeats']}",
        f"{trained['unet_lr']:g} · {trained['text_encoder_lr']:g}",
        f"{drawn['width']}×{drawn['height']}",
        f"{drawn['scheduler']}, {drawn['steps']} steps, CFG {drawn['cfg']:g}",
        ", ".join(preset.sections["captions"]["add"]),
    ):
        assert f"| {shown} |" in row
    assert f"| `{preset.name}` | {drawn['template']} | {drawn['negative'] or 'none'} |" in _PAGE


def test_sd15_is_the_note() -> None:
    """`method = "note"` on SD1.5 means these numbers, preset or not."""
    plain = Recipe.model_validate({**_ALL, "base": "base.safetensors"})
    assert recipe_of(base_preset("sd15")) == plain


def test_a_preset_that_does_not_exist_is_one_line_with_those_that_do() -> None:
    with pytest.raises(RecipeError, match=r"ponny: no preset of that name; there are animagine, .*sdxl") as caught:
        base_preset("ponny")
    assert "\n" not in str(caught.value)


def test_no_file_is_of_two_families() -> None:
    known = [digest for preset in base_presets() for digest in preset.hashes]
    assert len(known) == len(set(known))
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in known)
