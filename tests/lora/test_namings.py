"""Files as other trainers and programs write them: names, alphas and tensors that sd-scripts' own files don't have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from lora_core.errors import LoraError
from lora_core.hub import find_model_files
from lora_core.hub.layout import unet_name
from lora_core.lora.algebra import Size
from lora_core.lora.attach import attach
from lora_core.lora.combine import Term, add
from lora_core.lora.convert import convert
from lora_core.lora.file import open_lora, read_lora
from lora_core.lora.inspect import inspect_file
from lora_core.lora.merge import merge_file
from lora_core.progress import silent

_PATH = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
_NAMES = {
    "sd1": "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k",
    "sdxl": "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
}
_FC1 = "lora_te_text_model_encoder_layers_0_mlp_fc1"
_ORIGINAL = unet_name(f"{_PATH}.", 2, (False, True, True, True)).rstrip(".")


def halves(name: str, inputs: int = 768) -> dict[str, torch.Tensor]:
    """A module's two matrices under peft's names."""
    generator = torch.Generator().manual_seed(1)
    down, up = torch.randn(2, inputs, generator=generator), torch.randn(4, 2, generator=generator)
    return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}


@pytest.mark.parametrize("width", [768, 2048])
@pytest.mark.parametrize(
    "name",
    [f"unet.{_PATH}", _PATH, f"base_model.model.{_PATH}", f"unet.base_model.model.{_PATH}",
     f"diffusion_model.{_ORIGINAL}"],
)  # fmt: skip
def test_a_unets_module_is_known_by_all_its_names_in_both_architectures(name: str, width: int, tmp_path: Path) -> None:
    save_file(halves(name, width), tmp_path / "a.safetensors")
    architecture = {768: "sd1", 2048: "sdxl"}[width]
    assert inspect_file(tmp_path / "a.safetensors").architecture == architecture
    ((found, module),) = read_lora(tmp_path / "a.safetensors").modules.items()
    assert found == _NAMES[architecture]
    assert torch.equal(module.down, halves(name, width)[f"{name}.lora_A.weight"])
    convert(tmp_path / "a.safetensors", tmp_path / "kohya.safetensors", "kohya", silent)
    assert set(read_lora(tmp_path / "kohya.safetensors").modules) == {found}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("diffusion_model.double_blocks.0.img_attn.proj", "peft's naming for another kind of model"),
        ("base_model.model.layers.0.q_proj", "does not say which model"),
    ],
)
def test_modules_of_other_models_in_such_names_are_refused_by_what_they_are(
    name: str, what: str, tmp_path: Path
) -> None:
    save_file(halves(name), tmp_path / "a.safetensors")
    with pytest.raises(LoraError, match=what):
        open_lora(tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float64])
def test_an_alpha_may_be_an_integer(made: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = load_file(made["sd1"].lora)
    tensors = {key: each.to(dtype) if key.endswith(".alpha") else each for key, each in tensors.items()}
    save_file(tensors, tmp_path / "a.safetensors")
    assert {module.alpha for module in read_lora(tmp_path / "a.safetensors").modules.values()} == {2.0}
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "kohya", silent)
    convert(made["sd1"].lora, tmp_path / "c.safetensors", "kohya", silent)
    same, wanted = load_file(tmp_path / "b.safetensors"), load_file(tmp_path / "c.safetensors")
    assert all(torch.equal(same[key], wanted[key]) for key in wanted)


def test_a_text_encoder_of_sd1_may_be_called_the_first_of_two(workshop: Any, made: Any, tmp_path: Path) -> None:
    source, odd = made["sd1"].lora, tmp_path / "te1.safetensors"
    save_file({key.replace("lora_te_", "lora_te1_"): each for key, each in load_file(source).items()}, odd)
    base = workshop.load(made["sd1"].single)
    attach(base, odd, 1.0)
    torch.testing.assert_close(workshop.draw(base), made["sd1"].drawn)
    files = find_model_files(str(made["sd1"].single), "")
    for lora, out in ((source, "wanted"), (odd, "found")):
        merge_file(files, [Term(lora)], tmp_path / f"{out}.safetensors", silent)
    found, wanted = load_file(tmp_path / "found.safetensors"), load_file(tmp_path / "wanted.safetensors")
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_such_names_do_not_hide_the_architecture_and_meet_the_usual_ones_in_a_sum(tmp_path: Path) -> None:
    name = _NAMES["sd1"]
    for file, start in (("odd", "lora_te1_"), ("usual", "lora_te_")):
        tensors = halves(name) | halves(_FC1.replace("lora_te_", start))
        its = {key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"): each for key, each in tensors.items()}
        save_file(its, tmp_path / f"{file}.safetensors")
    odd, usual = tmp_path / "odd.safetensors", tmp_path / "usual.safetensors"
    assert inspect_file(odd).architecture == "sd1"
    add([Term(odd), Term(usual)], tmp_path / "sum.safetensors", Size(), "auto", silent)
    assert {key: each.rank for key, each in read_lora(tmp_path / "sum.safetensors").modules.items()} == {
        name: 4, _FC1: 4,
    }  # fmt: skip


def test_a_bundled_embedding_is_named_and_the_lora_beside_it_is_read(made: Any, tmp_path: Path) -> None:
    bundle = {"bundle_emb.momo.string_to_param.*": torch.zeros(2, 64), "bundle_emb.bad.emb_params": torch.zeros(1, 64)}
    save_file(load_file(made["sd1"].lora) | bundle, tmp_path / "a.safetensors")
    assert inspect_file(tmp_path / "a.safetensors").what == "a LoRA with the embeddings bad, momo"
    assert read_lora(tmp_path / "a.safetensors").modules.keys() == read_lora(made["sd1"].lora).modules.keys()


def test_two_namings_in_one_file_are_refused(made: Any, tmp_path: Path) -> None:
    save_file(load_file(made["sd1"].lora) | halves(f"unet.{_PATH}"), tmp_path / "a.safetensors")
    with pytest.raises(LoraError, match="modules in two namings"):
        open_lora(tmp_path / "a.safetensors")


def test_a_dora_as_peft_names_it_is_merged_as_by_peft(workshop: Any, made: Any, tmp_path: Path) -> None:
    base = workshop.load(made["sd1"].single)
    config = LoraConfig(
        r=2, lora_alpha=2, init_lora_weights=False, use_dora=True, target_modules=[r"to_k", "conv1", "proj_in"]
    )
    torch.manual_seed(3)
    inject_adapter_in_model(config, base.unet)
    tensors = {}
    for key, parameter in base.unet.named_parameters():
        if "magnitude" in key:
            parameter.data.mul_(1 + 0.3 * torch.rand(parameter.shape))
        if "lora_" in key:
            tensors[f"unet.{key.replace('.default', '')}"] = parameter.detach().clone()
    save_file(tensors, tmp_path / "a.safetensors")
    assert inspect_file(tmp_path / "a.safetensors").what == "a DoRA in diffusers' naming"
    convert(tmp_path / "a.safetensors", tmp_path / "kohya.safetensors", "kohya", silent)
    drawn = workshop.draw(base)
    for file in ("a", "kohya"):
        out = tmp_path / f"{file}-merged.safetensors"
        merge_file(find_model_files(str(made["sd1"].single), ""), [Term(tmp_path / f"{file}.safetensors")], out, silent)
        torch.testing.assert_close(workshop.draw(workshop.load(out)), drawn, rtol=1e-3, atol=1e-4)
