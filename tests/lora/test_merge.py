"""The merge, against sd-scripts' numbers and against the LoRA in action."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_core.errors import CheckpointError, LoraError, OutputExistsError
from lora_core.hub import find_model_files
from lora_core.lora.attach import attach
from lora_core.lora.base import attachable_names
from lora_core.lora.combine import Term
from lora_core.lora.merge import merge_file
from lora_core.lora.module import LoraModule
from lora_core.lora.naming import TEXT_PARTS
from lora_core.progress import silent

_CASES = json.loads((Path(__file__).parents[1] / "golden/merge_small.json").read_text())["cases"]
_DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.mark.parametrize(
    "case", _CASES, ids=[f"{c['kind']}-{c['alpha']}-{c['ratio']}-{c['precision']}" for c in _CASES]
)
def test_a_weight_is_merged_as_by_sd_scripts(case: dict[str, Any]) -> None:
    dtype = _DTYPES[case["precision"]]
    weight, down, up = (torch.tensor(case[key], dtype=dtype) for key in ("weight", "down", "up"))
    merged = LoraModule.plain(down, up, case["alpha"]).merged(weight, case["ratio"]).to(dtype)
    assert str(dtype) == case["merged_dtype"]
    assert torch.equal(merged, torch.tensor(case["merged"], dtype=dtype))


def test_a_decomposed_convolution_is_put_together() -> None:
    down, mid, up = torch.randn(2, 3, 1, 1), torch.randn(2, 2, 3, 3), torch.randn(4, 2, 1, 1)
    merged = LoraModule.plain(down, up, mid=mid).merged(torch.zeros(4, 3, 3, 3))
    image = torch.randn(1, 3, 5, 5)
    chained = torch.conv2d(torch.conv2d(torch.conv2d(image, down), mid), up)
    torch.testing.assert_close(torch.conv2d(image, merged), chained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_merged_base_draws_what_the_base_with_the_lora_draws(
    workshop: Any, made: Any, architecture: Any, tmp_path: Path
) -> None:
    single, folder = made[architecture].single, workshop.folder(tmp_path / "base", architecture)
    for base, out in ((single, tmp_path / "merged.safetensors"), (folder, tmp_path / "merged")):
        merge_file(find_model_files(str(base), ""), [Term(made[architecture].lora, 1.0)], out, silent)
        torch.testing.assert_close(workshop.draw(workshop.load(out)), made[architecture].drawn, rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "merged", "merged.safetensors"]


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_lora_of_every_layer_that_any_trainer_touches_merges_as_it_attaches(
    workshop: Any, made: Any, architecture: Any, tmp_path: Path
) -> None:
    single, folder = made[architecture].single, workshop.folder(tmp_path / "base", architecture)
    base, tensors = workshop.load(single), {}
    generator = torch.Generator().manual_seed(5)
    for part, model in (("unet", base.unet), *zip(TEXT_PARTS, base.text_encoders, strict=False)):
        names = {path: name for name, path in attachable_names(base, part).items()}  # of SDXL's two the original one
        for path, name in names.items():
            weight = model.get_parameter(f"{path}.weight")
            down = torch.randn(2, *weight.shape[1:], generator=generator)
            up = torch.randn(weight.shape[0], 2, *(1 for _ in weight.shape[2:]), generator=generator)
            tensors |= {f"{name}.lora_down.weight": down * 0.05, f"{name}.lora_up.weight": up * 0.05}
    assert any("time_embed" in key for key in tensors)
    save_file(tensors, tmp_path / "lora.safetensors")
    attach(base, tmp_path / "lora.safetensors", 1.0)
    drawn = workshop.draw(base)
    for source, out in ((single, tmp_path / "merged.safetensors"), (folder, tmp_path / "merged")):
        merge_file(find_model_files(str(source), ""), [Term(tmp_path / "lora.safetensors")], out, silent)
        torch.testing.assert_close(workshop.draw(workshop.load(out)), drawn, rtol=1e-3, atol=1e-4)


def test_an_fp16_base_stays_fp16_and_what_the_lora_does_not_touch_stays_as_it_is(
    workshop: Any, made: Any, tmp_path: Path
) -> None:
    base = workshop.single_file(tmp_path / "base.safetensors", "sd1", torch.float16, {"modelspec.title": "base"})
    steps: list[tuple[int, int]] = []
    merge_file(
        {"base.safetensors": base},
        [Term(made["sd1"].lora, 0.5)],
        tmp_path / "out.safetensors",
        lambda done, total, note="": steps.append((done, total)),
    )
    before, after = load_file(base), load_file(tmp_path / "out.safetensors")
    assert before.keys() == after.keys()
    assert all(before[key].dtype == after[key].dtype and before[key].shape == after[key].shape for key in before)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert len(changed) == len({key for key in load_file(made["sd1"].lora) if key.endswith(".alpha")})
    assert not any("first_stage_model" in key for key in changed)
    lora, name = load_file(made["sd1"].lora), "lora_te_text_model_encoder_layers_1_mlp_fc2"
    key = "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.weight"
    change = 0.5 * (2 / 4) * lora[f"{name}.lora_up.weight"] @ lora[f"{name}.lora_down.weight"]
    torch.testing.assert_close(after[key], (before[key].float() + change).half(), rtol=1e-3, atol=1e-6)
    assert steps == [(done, len(before)) for done in range(1, len(before) + 1)]
    with safe_open(tmp_path / "out.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.title"] == "base"
    assert [each["weight"] for each in json.loads(metadata["headcanon.merged"])] == [0.5]


def test_equal_merges_have_equal_bytes_and_other_bytes_are_never_overwritten(made: Any, tmp_path: Path) -> None:
    files, out = {"sd1.safetensors": made["sd1"].single}, tmp_path / "out.safetensors"
    merge_file(files, [Term(made["sd1"].lora, 1.0)], out, silent)
    first = out.read_bytes()
    merge_file(files, [Term(made["sd1"].lora, 1.0)], out, silent)
    assert out.read_bytes() == first
    with pytest.raises(OutputExistsError, match=r"out\.safetensors"):
        merge_file(files, [Term(made["sd1"].lora, 0.5)], out, silent)
    assert out.read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]


def test_a_lora_of_another_architecture_merges_nothing_and_writes_nothing(made: Any, tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="trained on sd1 or sd2, the base is sdxl"):
        merge_file({"m": made["sdxl"].single}, [Term(made["sd1"].lora, 1.0)], tmp_path / "out", silent)
    with pytest.raises(LoraError, match="trained on sdxl, the base is sd1"):
        merge_file({"m": made["sd1"].single}, [Term(made["sdxl"].lora, 1.0)], tmp_path / "out", silent)
    assert list(tmp_path.iterdir()) == []


def test_modules_that_match_nothing_are_listed(made: Any, tmp_path: Path) -> None:
    tensors = load_file(made["sd1"].lora)
    for number in range(5):
        tensors[f"lora_unet_nowhere_{number}.lora_down.weight"] = torch.zeros(1, 4)
        tensors[f"lora_unet_nowhere_{number}.lora_up.weight"] = torch.zeros(4, 1)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(LoraError, match=r"5 of its \d+ modules match nothing .*lora_unet_nowhere_0") as caught:
        merge_file({"m": made["sd1"].single}, [Term(tmp_path / "odd.safetensors", 1.0)], tmp_path / "out", silent)
    assert "\n" not in str(caught.value)


def test_a_lora_of_another_width_is_refused(made: Any, tmp_path: Path) -> None:
    tensors = load_file(made["sd1"].lora)
    tensors["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = torch.zeros(99, 4)
    save_file(tensors, tmp_path / "wide.safetensors")
    with pytest.raises(LoraError, match="99×64, the base's has 128×64"):
        merge_file({"m": made["sd1"].single}, [Term(tmp_path / "wide.safetensors", 1.0)], tmp_path / "out", silent)


def test_a_merge_that_overflows_fp16_is_refused(workshop: Any, made: Any, tmp_path: Path) -> None:
    base = workshop.single_file(tmp_path / "base.safetensors", "sd1", torch.float16)
    with pytest.raises(LoraError, match="not finite as F16"):
        merge_file({"base.safetensors": base}, [Term(made["sd1"].lora, 1e9)], tmp_path / "out.safetensors", silent)
    assert [path.name for path in tmp_path.iterdir()] == ["base.safetensors"]


def test_a_lora_as_the_base_is_refused(made: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a LoRA, not a base model"):
        merge_file({"m": made["sd1"].lora}, [Term(made["sd1"].lora, 1.0)], tmp_path / "out", silent)
