"""Numbers that do not fit their base get a line: what, why, what to write. Those that `new` writes get none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.bases.fit import drawn_px, misfits
from lora_core.bases.lineage import find_lineage
from lora_core.bases.presets import base_preset
from lora_core.hub import find_model_files
from lora_core.recipe import Recipe

Found = Callable[..., list[str]]
_ALL = {"name": "any", "style": "style", "character": "character"}
_FILES = {
    "sd1": "v1-5-pruned.safetensors", "nai": "anything-v5.safetensors", "unknown": "mine.safetensors",
    "illustrious": "illustriousXL.safetensors", "pony": "pony.safetensors", "noobai-v": "noobai-vpred.safetensors",
}  # fmt: skip


@pytest.fixture(scope="module")
def found(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The lines about a recipe with these sections, on a base of that family."""
    folder = tmp_path_factory.mktemp("bases")
    for kind, name in _FILES.items():
        architecture = "sd1" if kind in ("sd1", "nai", "unknown") else "sdxl"
        path = workshop.single_file(folder / name, architecture)
        if kind == "noobai-v":
            save_file(load_file(path) | {"v_pred": torch.zeros(()), "ztsnr": torch.zeros(())}, path)

    def lines(kind: str, **sections: Any) -> list[str]:
        path = folder / _FILES[kind]
        base = {"model": str(path), **sections.pop("base", {})}
        recipe = Recipe.model_validate({**_ALL, "base": base, **sections})
        lineage = find_lineage(find_model_files(str(path), ""), str(path), deep=False)
        return [each.line for each in misfits(recipe, lineage)]

    return lines


@pytest.mark.parametrize("kind", ["illustrious", "pony", "noobai-v"])
def test_a_presets_numbers_fit_its_base(found: Found, kind: str) -> None:
    sections = dict(base_preset(kind).sections)
    assert found(kind, **sections) == []


def test_the_notes_numbers_fit_sd15_and_clip_skip_2_fits_novelais_line(found: Found) -> None:
    assert found("sd1") == []
    assert found("nai", base={"clip_skip": 2}) == []


def test_the_notes_numbers_on_sdxl_each_get_a_line(found: Found) -> None:
    lines = found("illustrious")
    assert [line.partition(" = ")[0] for line in lines] == [
        "style_training.resolution", "character_training.resolution", "downscale.size",
        "style_training.text_encoder_lr", "character_training.text_encoder_lr", "sampling.width",
    ]  # fmt: skip
    assert lines[0] == (
        "style_training.resolution = 512: Illustrious XL draws at 1024 px, and what it learns small it draws coarse; "
        "write resolution = 1024 under [style_training]"
    )
    assert "write size = 768 under [downscale]" in lines[2]
    assert "write width = 832 and height = 1216 under [sampling]" in lines[5]


def test_what_is_not_trained_is_not_remarked_on(found: Found) -> None:
    lines = found("illustrious", method="captions-only")
    assert not any(line.startswith("style_training") for line in lines)


def test_clip_skip_1_on_novelais_line_gets_a_line_and_2_on_plain_sd15_too(found: Found) -> None:
    assert found("nai") == [
        "base.clip_skip = 1: SD1.5 of NovelAI's line was trained with the last layer but one of the text encoder; "
        "write clip_skip = 2 under [base]"
    ]
    assert "clip_skip = 1 under [base]" in found("sd1", base={"clip_skip": 2})[0]


def test_of_a_base_whose_family_is_not_known_nothing_is_said_that_hangs_on_it(found: Found) -> None:
    assert found("unknown", base={"clip_skip": 2}, sampling={"template": "score_9, {prompt}"}) == []


@pytest.mark.parametrize("scheduler", ["dpmpp_2m_karras", "dpmpp_2m"])
def test_zero_terminal_snr_is_not_drawn_with_dpm_steps_nor_at_a_high_scale(found: Found, scheduler: str) -> None:
    sections = dict(base_preset("noobai-v").sections)
    sections["sampling"] = {**sections["sampling"], "scheduler": scheduler, "cfg": 7.0, "cfg_rescale": 0}
    lines = found("noobai-v", **sections)
    assert [line.partition(";")[2].strip() for line in lines] == [
        'write scheduler = "euler" under [sampling]', "write cfg = 4.5 under [sampling]",
    ]  # fmt: skip


def test_a_high_scale_is_fine_where_it_is_rescaled(found: Found) -> None:
    sections = dict(base_preset("noobai-v").sections)
    for sampling in ({"cfg": 7.0, "cfg_rescale": 0.7}, {"cfg": 7.0, "cfg_rescale": 0, "scheduler": "auto"}):
        assert found("noobai-v", **{**sections, "sampling": {**sections["sampling"], **sampling}}) == []


def test_what_only_epsilon_needs_is_named_on_zero_terminal_snr(found: Found) -> None:
    sections = dict(base_preset("noobai-v").sections)
    sections["character_training"] = {**sections["character_training"], "noise": {"offset": 0.05}}
    assert found("noobai-v", **sections)[0].startswith("character_training.noise.offset = 0.05: ")


def test_a_v_prediction_model_that_is_read_as_epsilon_gets_a_line(found: Found) -> None:
    sections = dict(base_preset("noobai-v").sections)
    assert 'write prediction = "auto" under [base]' in found("noobai-v", base={"prediction": "epsilon"}, **sections)[0]


def test_quality_words_of_another_family_get_a_line(found: Found) -> None:
    def told(kind: str, template: str) -> str:
        sections = dict(base_preset(kind).sections)
        return "".join(found(kind, **{**sections, "sampling": {**sections["sampling"], "template": template}}))

    assert "Pony Diffusion V6 XL was not trained with these quality words" in told("pony", "masterpiece, {prompt}")
    assert 'write template = "masterpiece, best quality, {prompt}"' in told("illustrious", "score_9, {prompt}")


def test_a_folder_says_how_large_it_draws(workshop: Any, tmp_path: Path) -> None:
    """The workshop's folders say sample_size 8 in latents of 8 px: 64 px, for which 512 px of training are no less."""
    folder = workshop.folder(tmp_path / "sdxl", "sdxl")
    lineage = find_lineage(find_model_files(str(folder), ""), str(folder))
    sampling = {"width": 64, "height": 64}
    sections = {"character_training": {"resolution": 64, "text_encoder_lr": 0}, "method": "captions-only"}
    recipe = Recipe.model_validate({**_ALL, "base": str(folder), "sampling": sampling, **sections})
    assert misfits(recipe, lineage) == ()


@pytest.mark.parametrize(
    ("architecture", "name", "size"),
    [("sd1", "v1-5-pruned.safetensors", (512, 768)), ("sdxl", "mine.safetensors", (832, 1216))],
)
def test_a_base_is_drawn_at_its_familys_size(
    workshop: Any, tmp_path: Path, architecture: str, name: str, size: tuple[int, int]
) -> None:
    path = workshop.single_file(tmp_path / name, architecture)
    assert drawn_px(find_lineage(find_model_files(str(path), ""), str(path), deep=False)) == size
