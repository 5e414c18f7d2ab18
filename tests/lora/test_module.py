"""DoRA, LoHa and LoKr beside peft: what they make of a weight, merged into checkpoints and as plain LoRAs."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import nn

from lora_core.errors import LoraError
from lora_core.hub import find_model_files
from lora_core.lora.algebra import Size
from lora_core.lora.attach import attach
from lora_core.lora.base import attachable_names
from lora_core.lora.combine import Term, add, resize, subtract
from lora_core.lora.convert import convert
from lora_core.lora.file import open_lora, read_lora
from lora_core.lora.merge import merge_file, merge_into
from lora_core.lora.module import LoraModule
from lora_core.progress import silent

_ALPHA = 3.0
_DORA = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
_WHOLE = 64
"""A rank beyond which peft keeps LoKr's second matrix whole."""


def lora(rank: int, **more: Any) -> Any:
    return LoraConfig(r=rank, lora_alpha=_ALPHA, init_lora_weights=False, **more)


def loha(rank: int, **more: Any) -> Any:
    return LoHaConfig(r=rank, alpha=_ALPHA, init_weights=False, **more)


def lokr(rank: int, **more: Any) -> Any:
    return LoKrConfig(r=rank, alpha=_ALPHA, init_weights=False, **more)


KINDS = {
    "lora": lora(4),
    "dora by rows": lora(4, use_dora=True),
    "loha": loha(2),
    "loha of a rank beyond the weight's": loha(7),
    "loha in Tucker's form": loha(2, use_effective_conv2d=True),
    "lokr": lokr(2),
    "lokr of a factor": lokr(2, decompose_factor=4),
    "lokr of four matrices": lokr(2, decompose_both=True),
    "lokr in Tucker's form": lokr(2, use_effective_conv2d=True, decompose_both=True),
    "lokr of two whole matrices": lokr(_WHOLE),
}
WEIGHTS = {
    "linear": lambda: nn.Linear(48, 32),
    "wide linear": lambda: nn.Linear(16, 48),
    "1×1": lambda: nn.Conv2d(24, 32, 1),
    "3×3": lambda: nn.Conv2d(32, 24, 3, padding=1),
}


def with_peft(config: Any, layer: nn.Module) -> BaseTunerLayer:
    """The layer with a random adapter of peft's in it."""
    torch.manual_seed(3)
    model = nn.Sequential(layer.requires_grad_(False))
    config.target_modules = ["0"]
    inject_adapter_in_model(config, model)
    return perturbed(model[0])


def perturbed(module: Any, size: float = 0.5) -> BaseTunerLayer:
    """Numbers of one size in all matrices, and a DoRA's lengths not those of the base, as they are at the start."""
    for name, parameter in module.named_parameters():
        if "magnitude" in name:
            parameter.data.mul_(1 + 0.3 * torch.rand(parameter.shape))
        elif parameter.requires_grad:
            parameter.data.normal_(0, size)
    assert isinstance(module, BaseTunerLayer)
    return module


def module_of(module: Any) -> LoraModule:
    """peft's parameters under the names that files have."""
    tensors: dict[str, torch.Tensor] = {}
    for path, parameter in module.named_parameters():
        key = path.replace(".default", "")
        if key.startswith("lora_magnitude_vector"):
            weight = module.get_base_layer().weight
            tensors["dora_scale"] = parameter.detach().reshape(weight.shape[0], *(1 for _ in weight.shape[1:]))
        elif not key.startswith("base_layer"):
            tensors[_DORA.get(key, key)] = parameter.detach()
    return LoraModule(tensors, _ALPHA)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_merged_as_by_peft(kind: str, weight: str) -> None:
    module: Any = with_peft(KINDS[kind], WEIGHTS[weight]())
    if kind.endswith("whole matrices"):
        module.scaling["default"] = 1.0  # peft keeps alpha / rank there; LyCORIS and web UIs don't
    adapter, before = module_of(module), module.get_base_layer().weight.detach().clone()
    found = before.clone()
    merge_into(found, [(adapter, 1.0)])
    module.merge(safe_merge=True)
    wanted = module.get_base_layer().weight.detach()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 * max(1.0, float(wanted.abs().max())))
    assert not torch.allclose(found, before, atol=1e-3)
    assert adapter.misfit(before.shape) == ""
    half = before.clone()
    merge_into(half, [(adapter, 0.5)])
    torch.testing.assert_close(half, (before + found) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("dora")])
def test_every_kind_but_dora_is_a_plain_lora_exactly(kind: str, weight: str) -> None:
    layer = WEIGHTS[weight]()
    adapter, shape = module_of(with_peft(KINDS[kind], layer)), layer.weight.shape
    module = adapter.low_rank(shape[2:])
    assert module.rank <= min(shape[0], math.prod(shape[1:]))
    assert module.scale == pytest.approx(adapter.scale)
    one, other = torch.zeros(shape), torch.zeros(shape)
    merge_into(one, [(adapter, 1.0)])
    merge_into(other, [(module, 1.0)])
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


def test_a_loha_has_its_rank_squared_and_a_narrow_lokr_the_rank_of_both_matrices() -> None:
    assert module_of(with_peft(KINDS["loha"], nn.Linear(48, 32))).low_rank(()).rank == 4
    found = module_of(with_peft(lokr(2, decompose_factor=2), nn.Linear(48, 32)))
    assert found.tensors["lokr_w1"].shape == (2, 2)
    assert found.low_rank(()).rank == 4


def test_lengths_of_columns_and_rows_by_hand() -> None:
    weight = torch.tensor([[3.0, 0.0], [4.0, 2.0]])
    nothing = {"lora_down.weight": torch.zeros(1, 2), "lora_up.weight": torch.zeros(2, 1)}
    columns = LoraModule({**nothing, "dora_scale": torch.tensor([[10.0, 1.0]])}, 1.0)
    torch.testing.assert_close(columns.merged(weight), torch.tensor([[6.0, 0.0], [8.0, 1.0]]))  # ‖(3, 4)‖ = 5
    rows = LoraModule({**nothing, "dora_scale": torch.tensor([[6.0], [20.0]])}, 1.0)
    lengths = math.sqrt(20)
    wanted = torch.tensor([[6.0, 0.0], [4 * 20 / lengths, 2 * 20 / lengths]])
    torch.testing.assert_close(rows.merged(weight), wanted)
    torch.testing.assert_close(rows.merged(weight, 0.25), weight + 0.25 * (wanted - weight))


def test_a_column_of_zeros_stays_zeros() -> None:
    nothing = {"lora_down.weight": torch.zeros(1, 2), "lora_up.weight": torch.zeros(2, 1)}
    still = LoraModule({**nothing, "dora_scale": torch.tensor([[0.0, 1.0]])}, 1.0)
    assert torch.equal(still.merged(torch.tensor([[0.0, 1.0], [0.0, 0.0]])), torch.tensor([[0.0, 1.0], [0.0, 0.0]]))


def test_a_dora_after_another_is_of_what_the_first_made() -> None:
    weight = torch.randn(6, 5)
    first = LoraModule({"lora_down.weight": torch.randn(1, 5), "lora_up.weight": torch.randn(6, 1)}, 1.0)
    second = LoraModule({**first.tensors, "dora_scale": torch.rand(1, 5)}, 1.0)
    plain = LoraModule.plain(first.down, first.up, 1.0)
    wanted = second.merged(first.merged(weight, 0.7), 0.5).half()
    found = weight.half()
    merge_into(found, [(plain, 0.7), (second, 0.5)])
    torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

FILES = {"loha": KINDS["loha"], "lokr": KINDS["lokr of four matrices"], "dora": KINDS["dora by rows"]}


def written(base: Any, config: Any, path: Path, every: int = 1) -> Any:
    """Put peft's adapters into modules of a U-Net, 3×3 kernels too, and write them as a file; returns the U-Net."""
    names = {path: name for name, path in attachable_names(base, "unet").items()}
    paths = sorted(names)[::every]
    config.target_modules = paths
    torch.manual_seed(3)
    inject_adapter_in_model(config, base.unet)
    tensors: dict[str, torch.Tensor] = {}
    for place in paths:
        module = perturbed(base.unet.get_submodule(place), 0.1)
        tensors |= {f"{names[place]}.{key}": each.contiguous() for key, each in module_of(module).tensors.items()}
        tensors[f"{names[place]}.alpha"] = torch.tensor(_ALPHA)
    save_file(tensors, path)
    return base.unet


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_a_merged_checkpoint_has_the_weights_that_peft_merges(
    workshop: Any, made: Any, architecture: Any, kind: str, tmp_path: Path
) -> None:
    path, out = tmp_path / "a.safetensors", tmp_path / "merged.safetensors"
    unet = written(workshop.load(made[architecture].single), FILES[kind], path)
    attached = workshop.load(made[architecture].single)
    attach(attached, path, 1.0)
    merge_file(find_model_files(str(made[architecture].single), ""), [Term(path)], out, silent)
    merged = workshop.load(out)
    torch.testing.assert_close(workshop.draw(merged), workshop.draw(attached), rtol=1e-3, atol=1e-4)
    modules = {name: module for name, module in unet.named_modules() if isinstance(module, BaseTunerLayer)}
    assert any(module.get_base_layer().weight.shape[2:] == (3, 3) for module in modules.values())
    for name, module in modules.items():
        module.merge()
        wanted = module.get_base_layer().weight
        found = merged.unet.get_submodule(name).weight
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6 * max(1.0, float(wanted.abs().max())))


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_a_file_is_resized_added_and_subtracted_as_a_plain_lora(
    workshop: Any, made: Any, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    written(workshop.load(made["sd1"].single), FILES[kind], path, every=9)
    small, whole, back = (tmp_path / f"{name}.safetensors" for name in ("small", "whole", "back"))
    resize(Term(path), small, Size(rank=3), "fp32", silent)
    add([Term(path), Term(made["sd1"].lora, 0.5)], whole, Size(), "fp32", silent)
    subtract(Term(whole), Term(made["sd1"].lora, 0.5), back, Size(energy=0.999999), "fp32", silent)
    source, plain = open_lora(path), read_lora(back)
    kernels = 0
    for name, module in read_lora(small).modules.items():
        shape = (module.up.shape[0], *module.down.shape[1:])
        kernels += shape[2:] == (3, 3)
        found, wanted, again = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
        merge_into(wanted, [(source.read(name), 1.0)])
        merge_into(again, [(plain.modules[name], 1.0)])
        torch.testing.assert_close(again, wanted, rtol=0, atol=5e-3 * float(wanted.abs().max()))
        merge_into(found, [(module, 1.0)])
        best = torch.linalg.svdvals(wanted.flatten(1).double())[3:].square().sum()
        distance = (found - wanted).double().square().sum()
        assert module.rank <= 3
        assert float(distance) <= 1.02 * float(best) + 1e-8
    assert kernels


def test_what_depends_on_the_base_or_has_no_name_in_diffusers_is_refused_with_what_to_do(
    workshop: Any, made: Any, tmp_path: Path
) -> None:
    dora, loha_file, out = (tmp_path / f"{name}.safetensors" for name in ("dora", "loha", "out"))
    written(workshop.load(made["sd1"].single), FILES["dora"], dora, every=9)
    written(workshop.load(made["sd1"].single), FILES["loha"], loha_file, every=9)
    with pytest.raises(LoraError, match=r"a DoRA, whose change .* depends on the base.*headcanon lora extract"):
        add([Term(made["sd1"].lora), Term(dora)], out, Size(), "auto", silent)
    with pytest.raises(LoraError, match=r"a DoRA.*headcanon lora extract"):
        resize(Term(dora), out, Size(rank=2), "auto", silent)
    with pytest.raises(LoraError, match=r"a LoHa, which diffusers has no names for.*headcanon lora resize"):
        convert(loha_file, out, "diffusers", silent)
    with pytest.raises(LoraError, match=r"a DoRA, which diffusers has no names for.*headcanon lora extract"):
        convert(dora, out, "diffusers", silent)
    with pytest.raises(LoraError, match="in kohya's naming already"):
        convert(loha_file, out, "kohya", silent)
    assert not out.exists()


BROKEN = {
    "cut off": (lambda data: data, "cut off"),
    "half": (lambda its: {key: each for key, each in its.items() if "hada_w2_b" not in key}, "read are whole LoRAs"),
    "fp8": (lambda its: {key: each.to(torch.float8_e4m3fn) for key, each in its.items()}, "stored as F8_E4M3"),
    "NaN": (lambda its: {key: each * torch.nan if "w1_a" in key else each for key, each in its.items()}, "NaN"),
    "alpha": (lambda its: {key: each * 0 if "alpha" in key else each for key, each in its.items()}, "alpha is 0"),
    "shapes": (lambda its: {key: each[:1] if "w1_b" in key else each for key, each in its.items()}, "do not fit"),
    "other": (lambda its: {**its, "lora_unet_a.oft_blocks": torch.ones(2, 2)}, "read are whole LoRAs"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_loha_is_refused_in_one_line_and_nothing_is_written(
    workshop: Any, made: Any, how: str, tmp_path: Path
) -> None:
    path, out = tmp_path / "broken.safetensors", tmp_path / "out.safetensors"
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    tensors = {
        f"{name}.hada_w1_a": torch.ones(128, 2),
        f"{name}.hada_w1_b": torch.ones(2, 64),
        f"{name}.hada_w2_a": torch.ones(128, 2),
        f"{name}.hada_w2_b": torch.ones(2, 64),
        f"{name}.alpha": torch.tensor(1.0),
    }
    spoil, words = BROKEN[how]
    save_file({key: each.contiguous() for key, each in spoil(tensors).items()}, path)
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(LoraError, match=words) as caught:
        merge_file({"m": made["sd1"].single}, [Term(path)], out, silent)
    assert "\n" not in str(caught.value)
    assert "broken.safetensors" in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["broken.safetensors"]


def test_one_for_another_width_or_architecture_is_refused(made: Any, tmp_path: Path) -> None:
    for name, words in (
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", "made for a weight of 16×16, the base's has 128×64"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "trained on sdxl, the base is sd1"),
    ):
        path = tmp_path / f"{len(name)}.safetensors"
        save_file({f"{name}.lokr_w1": torch.ones(4, 4), f"{name}.lokr_w2": torch.ones(4, 4)}, path)
        with pytest.raises(LoraError, match=words):
            merge_file({"m": made["sd1"].single}, [Term(path)], tmp_path / "out.safetensors", silent)


def test_an_fp16_base_of_tiny_loras_keeps_what_is_not_touched(workshop: Any, tmp_path: Path) -> None:
    base, path = workshop.single_file(tmp_path / "base.safetensors", "sd1", torch.float16), tmp_path / "a.safetensors"
    name = "lora_te_text_model_encoder_layers_1_mlp_fc2"
    save_file({f"{name}.lokr_w1": torch.rand(8, 8), f"{name}.lokr_w2": torch.rand(8, 16)}, path)
    merge_file({"base.safetensors": base}, [Term(path, 0.25)], tmp_path / "out.safetensors", silent)
    before, after, its = load_file(base), load_file(tmp_path / "out.safetensors"), load_file(path)
    key = "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.weight"
    wanted = before[key].float() + 0.25 * torch.kron(its[f"{name}.lokr_w1"], its[f"{name}.lokr_w2"])
    assert torch.equal(after[key], wanted.half())
    assert {each for each in before if not torch.equal(before[each], after[each])} == {key}
