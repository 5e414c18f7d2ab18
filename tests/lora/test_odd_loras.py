"""LoRA files in every naming that trainers and converters have written, and those that are something else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.errors import LoraError
from lora_core.hub import find_model_files
from lora_core.lora.base import attach, build_of
from lora_core.lora.combine import Term
from lora_core.lora.file import open_lora, read_lora
from lora_core.lora.inspect import inspect_file
from lora_core.lora.merge import merge_file
from lora_core.lora.naming import _BUILDS, file_names, module_table, modules_of
from lora_core.progress import silent

KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
PATH = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
ORIGINAL = "input_blocks.1.1.transformer_blocks.0.attn2.to_k"
FLAT = f"lora_unet_{ORIGINAL.replace('.', '_')}"
PROCESSOR = PATH.replace(".to_k", ".processor.to_k_lora")
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
TEXT_PATH = "text_model.encoder.layers.0.self_attn.q_proj"


def write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def halves(down: str, up: str, sides: tuple[int, int] = (768, 320)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        down: torch.randn(4, sides[0], generator=generator),
        up: torch.randn(sides[1], 4, generator=generator),
    }


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (f"{KEY}.lora.down.weight", f"{KEY}.lora.up.weight"),
        (f"{KEY}.lora_A.weight", f"{KEY}.lora_B.weight"),
        (f"{FLAT}.lora_down.weight", f"{FLAT}.lora_up.weight"),
        (f"unet.{PATH}.lora_A.weight", f"unet.{PATH}.lora_B.weight"),
        (f"unet.{PATH}.lora_A.default_0.weight", f"unet.{PATH}.lora_B.default_0.weight"),
        (f"unet.{PATH}.lora.down.weight", f"unet.{PATH}.lora.up.weight"),
        (f"unet.{PROCESSOR}.down.weight", f"unet.{PROCESSOR}.up.weight"),
        (f"{PROCESSOR}.down.weight", f"{PROCESSOR}.up.weight"),
        (f"{PATH}.lora_A.weight", f"{PATH}.lora_B.weight"),
        (f"base_model.model.{PATH}.lora_A.weight", f"base_model.model.{PATH}.lora_B.weight"),
        (f"diffusion_model.{ORIGINAL}.lora_A.weight", f"diffusion_model.{ORIGINAL}.lora_B.weight"),
        (f"diffusion_model.{ORIGINAL}.lora_down.weight", f"diffusion_model.{ORIGINAL}.lora_up.weight"),
        (f"model.diffusion_model.{ORIGINAL}.lora_A.weight", f"model.diffusion_model.{ORIGINAL}.lora_B.weight"),
    ],
)  # fmt: skip
def test_every_naming_of_a_module_is_the_same_module_of_sd1(tmp_path: Path, down: str, up: str) -> None:
    path = write(tmp_path / "odd.safetensors", halves(down, up))
    lora = read_lora(path)
    (name,) = lora.modules
    assert module_table()[name].path == PATH
    wanted = halves("down", "up")
    assert torch.equal(lora.modules[name].down, wanted["down"])
    assert torch.equal(lora.modules[name].up, wanted["up"])
    found = inspect_file(path)
    assert (found.kind, found.architecture, found.modules) == ("lora", "sd1", 1)


@pytest.mark.parametrize(
    "start",
    [
        f"text_encoder.{TEXT_PATH}.lora_linear_layer", "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora",
        f"text_encoder.{TEXT_PATH.removeprefix('text_model.')}.lora",
        f"text_encoders.clip_l.transformer.{TEXT_PATH}.lora",
    ],
)  # fmt: skip
def test_every_naming_of_a_text_encoders_module_is_the_same_module(tmp_path: Path, start: str) -> None:
    path = write(tmp_path / "odd.safetensors", halves(f"{start}.down.weight", f"{start}.up.weight", (768, 768)))
    assert list(open_lora(path).modules) == [TEXT]


def test_an_alpha_beside_diffusers_names_counts_and_so_does_lycoris_scalar(tmp_path: Path) -> None:
    diffusers = halves(f"unet.{PATH}.lora_A.weight", f"unet.{PATH}.lora_B.weight")
    path = write(tmp_path / "alpha.safetensors", diffusers | {f"unet.{PATH}.alpha": torch.tensor(2)})
    assert open_lora(path).modules[KEY].alpha == 2
    plain = halves(f"{KEY}.lora_down.weight", f"{KEY}.lora_up.weight")
    for more, alpha in (({}, 2.0), ({f"{KEY}.alpha": torch.tensor(8, dtype=torch.int64)}, 4.0)):
        path = write(tmp_path / f"{alpha}.safetensors", plain | {f"{KEY}.scalar": torch.tensor(0.5)} | more)
        assert open_lora(path).modules[KEY].alpha == alpha


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"oft_blocks": (4, 80, 80)}, "this is an OFT"),
        ({"oft_diag": (4, 80, 80)}, "this is an OFT"),
        ({"a1.weight": (4, 8), "a2.weight": (4, 4), "b1.weight": (4, 4), "b2.weight": (4, 4)}, "this is a GLoRA"),
        ({"weight": (320,), "on_input": ()}, "this is an IA3"),
        ({"diff": (320, 768)}, "this is full differences of weights"),
        ({"w_norm": (320,), "b_norm": (320,)}, "this is LyCORIS' changes of norm layers"),
    ],
)
def test_what_is_no_lora_is_named_for_what_it_is(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], said: str
) -> None:
    path = write(tmp_path / "odd.safetensors", {f"{KEY}.{name}": torch.zeros(shape) for name, shape in tensors.items()})
    with pytest.raises(LoraError, match=said):
        open_lora(path)
    assert said.removeprefix("this is ") in inspect_file(path).what


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("lora_unet_norm.w_norm", (320,), "a change of a norm layer"),
        ("lora_unet_conv_in.diff", (320, 4, 3, 3), "a full difference of the weight"),
        ("lora_te_x.diff_b", (3072,), "a change of the bias"),
        (f"{KEY}.lora_up.bias", (320,), "a change of the bias"),
    ],
)
def test_what_stands_beside_a_lora_and_cannot_be_applied_is_named(
    tmp_path: Path, name: str, shape: tuple[int, ...], said: str
) -> None:
    plain = halves(f"{KEY}.lora_down.weight", f"{KEY}.lora_up.weight")
    path = write(tmp_path / "odd.safetensors", plain | {name: torch.zeros(shape)})
    with pytest.raises(LoraError, match=f"that is {said}, which no tool here applies"):
        open_lora(path)


def test_no_name_in_files_means_two_modules() -> None:
    seen: dict[str, set[str]] = {}
    for architecture, build in _BUILDS.items():
        for module in modules_of(build):
            for name in file_names(architecture, module, build):
                seen.setdefault(name, set()).add(".".join(module))
    assert [name for name, modules in seen.items() if len(modules) > 1] == []


def test_a_lora_of_sd1_by_the_original_layouts_names_is_merged_and_drawn(
    workshop: Any, made: Any, tmp_path: Path
) -> None:
    table = module_table()
    build = build_of(workshop.load(made["sd1"].single))
    renamed = {}
    for key, tensor in load_file(made["sd1"].lora).items():
        name, _, rest = key.partition(".")
        renamed[f"{file_names('sd1', table[name], build)[-1]}.{rest}"] = tensor
    assert any(key.startswith("lora_unet_input_blocks_") for key in renamed)
    assert any(key.startswith("lora_te1_") for key in renamed)
    path = write(tmp_path / "original.safetensors", renamed)
    outs = []
    for number, lora in enumerate((made["sd1"].lora, path)):
        outs.append(tmp_path / f"{number}.safetensors")
        merge_file(find_model_files(str(made["sd1"].single), ""), [Term(lora)], outs[-1], silent)
    one, other = map(load_file, outs)
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())
    base = workshop.load(made["sd1"].single)
    attach(base, path, 1.0)
    for drawn, wanted in zip(workshop.draw(base), made["sd1"].drawn, strict=True):
        torch.testing.assert_close(drawn, wanted, rtol=1e-3, atol=1e-3)
