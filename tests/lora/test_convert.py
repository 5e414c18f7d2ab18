"""The two namings: there and back is the identity, and diffusers draws the same from either."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_core.errors import LoraError
from lora_core.lora.algebra import Size
from lora_core.lora.combine import Term, add, resize
from lora_core.lora.convert import convert
from lora_core.lora.file import open_lora, read_lora
from lora_core.lora.inspect import inspect_file
from lora_core.lora.naming import module_table, name_of, same_name
from lora_core.progress import silent

_GOLDEN = Path(__file__).parents[1] / "golden"


def pipeline(base: Any) -> Any:
    """diffusers' own pipeline around a base's models."""
    parts = {"vae": base.vae, "unet": base.unet, "scheduler": DDIMScheduler()}
    for number, (encoder, tokenizer) in enumerate(zip(base.text_encoders, base.tokenizers, strict=True), 1):
        end = "" if number == 1 else f"_{number}"
        parts |= {f"text_encoder{end}": encoder, f"tokenizer{end}": tokenizer}
    if len(base.text_encoders) == 2:
        return StableDiffusionXLPipeline(**parts)
    return StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_there_and_back_is_the_identity_to_the_byte(made: Any, architecture: str, tmp_path: Path) -> None:
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    assert convert(made[architecture].lora, there, "diffusers", silent) == len(
        read_lora(made[architecture].lora).modules
    )
    convert(there, back, "kohya", silent)
    assert back.read_bytes() == made[architecture].lora.read_bytes()
    assert there.read_bytes() != back.read_bytes()
    convert(back, tmp_path / "again.safetensors", "diffusers", silent)
    assert (tmp_path / "again.safetensors").read_bytes() == there.read_bytes()


@st.composite
def files(draw: Any) -> dict[str, torch.Tensor]:
    """Some modules of one architecture, each with a rank, an alpha (or none) and a dtype of its own."""
    architecture = draw(st.sampled_from(["sd1", "sdxl"]))
    own = sorted(name for name in module_table() if _belongs(name, architecture))
    block, width = {"sd1": ("mid_block_attentions_0", 768), "sdxl": ("middle_block_1", 2048)}[architecture]
    mark = f"lora_unet_{block}_transformer_blocks_0_attn2_to_k"  # every file has one; it tells the architecture
    tensors: dict[str, torch.Tensor] = {}
    for name in {mark, *draw(st.lists(st.sampled_from(own), max_size=4, unique=True))}:
        rank, dtype = draw(st.integers(1, 5)), draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
        kernel = draw(st.sampled_from([(), (1, 1), (3, 3)]))
        inputs = width if name == mark else 3
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, inputs, *kernel).to(dtype)
        tensors[f"{name}.lora_up.weight"] = torch.randn(4, rank, *(1 for _ in kernel)).to(dtype)
        if alpha := draw(st.one_of(st.none(), st.floats(0.125, 64, width=32))):
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


def _belongs(name: str, architecture: Any) -> bool:
    try:
        return name_of(architecture, module_table()[name]) == name
    except KeyError:
        return False


@given(files())
@examples(25)
def test_there_and_back_keeps_every_number_and_every_scale(tensors: dict[str, torch.Tensor]) -> None:
    with tempfile.TemporaryDirectory() as name:
        source, there, back = (Path(name) / f"{each}.safetensors" for each in ("source", "there", "back"))
        save_file(tensors, source)
        convert(source, there, "diffusers", silent)
        convert(there, back, "kohya", silent)
        before, after = read_lora(source).modules, read_lora(back).modules
        assert before.keys() == after.keys()
        for module, was in before.items():
            found = after[module]
            assert (found.scale, found.down.dtype) == (was.scale, was.down.dtype)
            assert torch.equal(found.down, was.down)
            assert torch.equal(found.up, was.up)


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_diffusers_draws_from_the_converted_file_what_the_model_in_training_drew(
    workshop: Any, made: Any, architecture: str, dynamic: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = made[architecture].lora
    if dynamic:  # ranks and alphas that differ from module to module, without loss
        twice = tmp_path / "twice.safetensors"
        add([Term(source), Term(source)], twice, Size(), "auto", silent)
        some = {key: value for key, value in load_file(source).items() if "attn2" in key}
        rest = {key: value for key, value in load_file(twice).items() if "attn2" not in key}
        save_file(some | {k: v * 0.5 if k.endswith("lora_up.weight") else v for k, v in rest.items()}, twice)
        source = twice
        assert {module.rank for module in read_lora(source).modules.values()} == {4, 8}
    convert(source, tmp_path / "pytorch_lora_weights.safetensors", "diffusers", silent)
    base = workshop.load(made[architecture].single)
    pipeline(base).load_lora_weights(str(tmp_path), weight_name="pytorch_lora_weights.safetensors")
    assert [record.message for record in caplog.records if "key" in record.message.lower()] == []
    torch.testing.assert_close(workshop.draw(base), made[architecture].drawn)


@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_a_file_that_diffusers_saved_is_read_with_its_alphas(
    workshop: Any, made: Any, architecture: str, tmp_path: Path
) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    base = workshop.load(made[architecture].single)
    model = base.unet
    model.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=["to_k", "to_out.0"], init_lora_weights=False))
    expected = workshop.draw(base)[0]
    kind = StableDiffusionXLPipeline if architecture == "sdxl" else StableDiffusionPipeline
    kind.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(model),
        unet_lora_adapter_metadata=model.peft_config["default"].to_dict(),
    )
    saved = tmp_path / "pytorch_lora_weights.safetensors"
    assert inspect_file(saved).what == "a LoRA in diffusers' naming"
    assert {module.alpha for module in read_lora(saved).modules.values()} == {2.0}
    convert(saved, tmp_path / "kohya.safetensors", "kohya", silent)
    fresh = workshop.load(made[architecture].single)
    pipeline(fresh).load_lora_weights(str(tmp_path), weight_name="kohya.safetensors")
    torch.testing.assert_close(workshop.draw(fresh)[0], expected)


def test_what_older_diffusers_saved_has_an_alpha_of_its_rank(tmp_path: Path) -> None:
    path = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k"
    text = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    down, up = torch.randn(2, 3), torch.randn(4, 2)
    tensors = {f"{path}.lora.down.weight": down, f"{path}.lora.up.weight": up}
    tensors |= {f"{text}.lora_linear_layer.down.weight": down + 1, f"{text}.lora_linear_layer.up.weight": up + 1}
    save_file(tensors, tmp_path / "old.safetensors", {"format": "pt"})
    modules = read_lora(tmp_path / "old.safetensors").modules
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k"
    assert set(modules) == {name, "lora_te_text_model_encoder_layers_0_self_attn_q_proj"}
    assert modules[name].scale == pytest.approx(1.0)
    assert torch.equal(modules[name].down, down)


def test_rank_stabilized_loras_keep_their_scale(tmp_path: Path) -> None:
    path = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k"
    tensors = {f"unet.{path}.lora_A.weight": torch.randn(4, 3), f"unet.{path}.lora_B.weight": torch.randn(5, 4)}
    config = {"unet.r": 4, "unet.lora_alpha": 6, "unet.use_rslora": True}
    save_file(tensors, tmp_path / "a.safetensors", {"lora_adapter_metadata": json.dumps(config)})
    (module,) = read_lora(tmp_path / "a.safetensors").modules.values()
    assert module.scale == pytest.approx(6 / 2)  # alpha / √rank


@pytest.mark.parametrize(("golden", "architecture"), [("sd15", "sd1"), ("sdxl", "sdxl")])
def test_every_module_of_sd_scripts_has_a_place_and_one_name(golden: str, architecture: Any) -> None:
    keys = json.loads((_GOLDEN / f"lora_keys_{golden}_rank4.json").read_text())["keys"]
    names = {key.partition(".")[0] for key in keys}
    assert names <= module_table().keys()
    assert {name_of(architecture, module_table()[name]) for name in names} == names
    assert {same_name(name, architecture) for name in names} == names


@pytest.mark.parametrize("golden", ["sd15", "sdxl"])
def test_the_real_architectures_are_told_apart_by_the_unet_alone(golden: str, tmp_path: Path) -> None:
    keys = json.loads((_GOLDEN / f"lora_keys_{golden}_rank4.json").read_text())["keys"]
    unet = {key: torch.zeros(shape) for key, shape in keys.items() if "_unet_" in key and "attn2_to_k" in key}
    unet = {key: torch.ones(()) if key.endswith(".alpha") else value for key, value in unet.items()}
    save_file(unet, tmp_path / "kohya.safetensors")
    expected = {"sd15": "sd1", "sdxl": "sdxl"}[golden]
    assert open_lora(tmp_path / "kohya.safetensors").architecture == expected
    convert(tmp_path / "kohya.safetensors", tmp_path / "diffusers.safetensors", "diffusers", silent)
    there = open_lora(tmp_path / "diffusers.safetensors")
    assert there.architecture == expected
    assert there.modules.keys() == open_lora(tmp_path / "kohya.safetensors").modules.keys()


def test_a_decomposed_convolution_is_put_together_for_diffusers(tmp_path: Path) -> None:
    name = "lora_unet_mid_block_resnets_0_conv1"
    down, mid, up = torch.randn(2, 3, 1, 1), torch.randn(2, 2, 3, 3), torch.randn(4, 2, 1, 1)
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_mid.weight": mid, f"{name}.lora_up.weight": up}
    save_file(tensors, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "diffusers", silent)
    found = load_file(tmp_path / "b.safetensors")
    image = torch.randn(1, 3, 5, 5)
    chained = torch.conv2d(torch.conv2d(torch.conv2d(image, down), mid), up)
    path = "unet.mid_block.resnets.0.conv1"
    once = torch.conv2d(torch.conv2d(image, found[f"{path}.lora_A.weight"]), found[f"{path}.lora_B.weight"])
    torch.testing.assert_close(once, chained, rtol=1e-4, atol=1e-4)


def test_what_the_other_naming_cannot_say_is_refused(tmp_path: Path) -> None:
    save_file(
        {"lora_unet_nowhere.lora_down.weight": torch.ones(1, 4), "lora_unet_nowhere.lora_up.weight": torch.ones(4, 1)},
        tmp_path / "odd.safetensors",
    )
    with pytest.raises(LoraError, match=r"1 of its 1 modules are none of .*lora_unet_nowhere"):
        convert(tmp_path / "odd.safetensors", tmp_path / "out.safetensors", "diffusers", silent)
    for path in ("unet.elsewhere.0.to_k", "unet.up_blocks.3.upsamplers.0.conv"):  # SDXL has three levels
        _refused_by_sdxl(path, tmp_path)


def _refused_by_sdxl(path: str, tmp_path: Path) -> None:
    tensors = {
        f"text_encoder_2.text_model.encoder.layers.0.mlp.fc1.{half}.weight": torch.ones(1, 1)
        for half in ("lora_A", "lora_B")
    }
    tensors |= {f"{path}.{half}.weight": torch.ones(1, 1) for half in ("lora_A", "lora_B")}
    save_file(tensors, tmp_path / "odd2.safetensors")
    with pytest.raises(LoraError, match=rf"{re.escape(path)} is no module of sdxl"):
        convert(tmp_path / "odd2.safetensors", tmp_path / "out.safetensors", "kohya", silent)
    assert not (tmp_path / "out.safetensors").exists()


def test_training_facts_travel_and_hashes_of_the_other_file_do_not(made: Any, tmp_path: Path) -> None:
    convert(made["sd1"].lora, tmp_path / "there.safetensors", "diffusers", silent)
    with safe_open(tmp_path / "there.safetensors", framework="pt") as file:
        there = file.metadata()
    assert there["ss_network_dim"] == "4"
    assert "sshs_model_hash" not in there
    resize(Term(tmp_path / "there.safetensors"), tmp_path / "small.safetensors", Size(rank=2), "auto", silent)
    with safe_open(tmp_path / "small.safetensors", framework="pt") as file:
        assert "lora_adapter_metadata" not in file.metadata()
        assert file.metadata()["ss_network_dim"] == "2"
