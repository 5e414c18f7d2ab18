"""What a base's U-Net predicts: told by the model, else by the recipe."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.diffusion.read import read_source
from lora_core.errors import CheckpointError
from lora_core.recipe import Process

LAST_NORM = "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.norm1.bias"
V = Process(prediction="v_prediction")


def told(path: Path, process: Process | None = None) -> tuple[str, bool]:
    source = read_source({path.name: path}, process)
    return source.prediction, source.zero_terminal_snr


def with_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file({**load_file(path), **tensors}, path, metadata)
    return path


@pytest.fixture
def xl(workshop: Any, tmp_path: Path) -> Path:
    return Path(workshop.single_file(tmp_path / "xl.safetensors", "sdxl"))


def test_a_file_that_says_nothing_predicts_epsilon(xl: Path) -> None:
    assert told(xl) == ("epsilon", False)


def test_the_marker_tensors_of_web_uis_are_read(xl: Path) -> None:
    assert told(with_tensors(xl, {"v_pred": torch.tensor([])})) == ("v_prediction", False)
    assert told(with_tensors(xl, {"ztsnr": torch.tensor([])})) == ("v_prediction", True)


@pytest.mark.parametrize(("stated", "prediction"), [("v", "v_prediction"), ("epsilon", "epsilon"), ("", "epsilon")])
def test_the_model_spec_is_read(xl: Path, stated: str, prediction: str) -> None:
    assert told(with_tensors(xl, {}, {"modelspec.prediction_type": stated})) == (prediction, False)


def test_a_marker_goes_before_the_model_spec_whose_epsilon_tools_write_by_default(xl: Path) -> None:
    marked = with_tensors(xl, {"v_pred": torch.tensor([])}, {"modelspec.prediction_type": "epsilon"})
    assert told(marked) == ("v_prediction", False)


def test_a_file_can_carry_a_scheduler_config_of_its_own(xl: Path) -> None:
    own = {"scheduler": {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}}
    assert told(with_tensors(xl, {}, {"headcanon.configs": json.dumps(own)})) == ("v_prediction", True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("spread", "prediction"), [(0.06, "epsilon"), (0.12, "v_prediction")])
def test_an_sd2_file_that_says_nothing_is_told_by_the_spread_of_its_last_norm(
    workshop: Any, tmp_path: Path, dtype: torch.dtype, spread: float, prediction: str
) -> None:
    path = workshop.single_file(tmp_path / "sd2.safetensors", "sd2", dtype)
    bias = torch.tensor([spread, -spread] * 16, dtype=dtype)  # its standard deviation is the spread
    assert load_file(path)[LAST_NORM].shape == bias.shape
    assert told(with_tensors(path, {LAST_NORM: bias})) == (prediction, False)
    assert told(with_tensors(path, {}, {"modelspec.prediction_type": "epsilon"})) == ("epsilon", False)


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_folder_says_it_in_its_scheduler_config(workshop: Any, tmp_path: Path, architecture: str) -> None:
    folder = workshop.folder(tmp_path / "folder", architecture)
    assert workshop.load(folder).prediction_type == "epsilon"
    config = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    base = workshop.load(folder)
    assert (base.prediction_type, base.zero_terminal_snr) == ("v_prediction", True)


def test_the_recipes_word_goes_before_the_models(xl: Path) -> None:
    assert told(xl, V) == ("v_prediction", False)
    assert told(xl, Process(prediction="v_prediction", zero_terminal_snr=True)) == ("v_prediction", True)
    marked = with_tensors(xl, {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])})
    assert told(marked, Process(prediction="epsilon")) == ("epsilon", False)
    assert told(marked, V) == ("v_prediction", True)


def test_zero_terminal_snr_alone_is_refused_for_a_model_that_predicts_epsilon(xl: Path) -> None:
    with pytest.raises(CheckpointError, match="set prediction = 'v_prediction'"):
        told(xl, Process(zero_terminal_snr=True))


def test_another_prediction_type_is_named(workshop: Any, tmp_path: Path) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd1")
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "sample"}))
    with pytest.raises(CheckpointError, match="'sample' is unknown; known: epsilon, v_prediction"):
        workshop.load(folder)
