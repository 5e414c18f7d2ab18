"""LoRA files in every naming that trainers and converters have written, and those that are something else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.errors import LoraError
from lora_core.hub import find_model_files
from lora_core.lora.algebra import Size
from lora_core.lora.attach import attach, detach
from lora_core.lora.base import attachable_names, build_of
from lora_core.lora.checkpoint import Extraction, extract
from lora_core.lora.combine import Term, add, resize
from lora_core.lora.convert import convert
from lora_core.lora.file import open_lora, read_lora
from lora_core.lora.inspect import inspect_file
from lora_core.lora.merge import merge_file
from lora_core.lora.naming import _BUILDS, TEXT_PARTS, file_names, module_table, modules_of
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
    ],
)
def test_what_is_no_lora_is_named_for_what_it_is(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], said: str
) -> None:
    path = write(tmp_path / "odd.safetensors", {f"{KEY}.{name}": torch.zeros(shape) for name, shape in tensors.items()})
    with pytest.raises(LoraError, match=said):
        open_lora(path)
    assert said.removeprefix("this is ") in inspect_file(path).what


def test_what_stands_beside_a_lora_and_cannot_be_applied_is_named(tmp_path: Path) -> None:
    plain = halves(f"{KEY}.lora_down.weight", f"{KEY}.lora_up.weight")
    path = write(tmp_path / "odd.safetensors", plain | {f"{KEY}.lora_up.bias": torch.zeros(320)})
    with pytest.raises(LoraError, match="that is a change of the bias, which no tool here applies"):
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


def differences(base: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Put a difference of every bias, norm and of a 3×3 kernel beside a LoRA; returns a base changed so by hand."""
    generator = torch.Generator().manual_seed(2)
    for part, model in (("unet", base.unet), *zip(TEXT_PARTS, base.text_encoders, strict=False)):
        names = {path: name for name, path in attachable_names(base, part, norms=True).items()}
        for path, name in names.items():
            layer = model.get_submodule(path)
            is_norm = layer.weight.ndim == 1
            keys = {"bias": "b_norm" if is_norm else "diff_b"} | ({"weight": "w_norm"} if is_norm else {})
            keys |= {"weight": "diff"} if path == "conv_in" else {}
            for parameter, key in keys.items():
                if (changed := getattr(layer, parameter)) is not None:
                    change = 0.1 * torch.randn(changed.shape, generator=generator)
                    tensors[f"{name}.{key}"] = change
                    changed.data += 0.5 * change
    return base


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_differences_of_norms_biases_and_kernels_beside_a_lora_are_merged_and_drawn(
    workshop: Any, made: Any, architecture: Any, tmp_path: Path
) -> None:
    single, folder = made[architecture].single, workshop.folder(tmp_path / "base", architecture)
    tensors = {key: each for key, each in load_file(made[architecture].lora).items() if "conv_in" not in key}
    by_hand = differences(workshop.load(single), tensors)
    path = write(tmp_path / "odd.safetensors", tensors)
    attach(by_hand, made[architecture].lora, 0.5)
    wanted = workshop.draw(by_hand)
    base = workshop.load(single)
    plain = workshop.draw(base)
    attach(base, path, 0.5)
    torch.testing.assert_close(workshop.draw(base), wanted, rtol=1e-3, atol=1e-4)
    detach(base)
    assert all(map(torch.equal, workshop.draw(base), plain))
    for source, out in ((single, tmp_path / "merged.safetensors"), (folder, tmp_path / "merged")):
        merge_file(find_model_files(str(source), ""), [Term(path, 0.5)], out, silent)
        torch.testing.assert_close(workshop.draw(workshop.load(out)), wanted, rtol=1e-3, atol=1e-4)
    merged = find_model_files(str(tmp_path / "merged.safetensors"), "")
    taken = extract(
        find_model_files(str(single), ""), merged, tmp_path / "taken.safetensors", Extraction(Size(4)), "auto", silent
    )
    assert taken.left_out == sum(key.endswith(("_norm", ".diff_b")) for key in tensors)
    assert f"{taken.left_out} norms and biases differ too, which a LoRA does not hold" in str(taken)
    found = inspect_file(path)
    assert found.what == "a LoRA and changes of biases and changes of norm layers and full differences of weights"
    assert (found.kind, found.architecture) == ("lora", inspect_file(made[architecture].lora).architecture)
    assert found.modules == len({key.partition(".")[0] for key in tensors})
    said = f"this is {found.what}"
    for tool in (
        lambda: resize(Term(path), tmp_path / "small.safetensors", Size(2), "auto", silent),
        lambda: convert(path, tmp_path / "diffusers.safetensors", "diffusers", silent),
    ):
        with pytest.raises(LoraError, match=said) as error:
            tool()
        assert "headcanon merge" in str(error.value)


def test_what_comfyui_extracts_has_its_biases_and_norms_in_the_original_layouts_names(tmp_path: Path) -> None:
    start = "diffusion_model.input_blocks.1.0"
    tensors = halves(f"diffusion_model.{ORIGINAL}.lora_down.weight", f"diffusion_model.{ORIGINAL}.lora_up.weight")
    tensors |= {f"{start}.in_layers.0.diff": torch.ones(320), f"{start}.in_layers.0.diff_b": torch.ones(320)}
    path = write(tmp_path / "comfy.safetensors", tensors)
    norm = "lora_unet_down_blocks_0_resnets_0_norm1"
    assert set(open_lora(path).modules) == {KEY, norm, f"{norm}.bias"}
    convert(path, tmp_path / "kohya.safetensors", "kohya", silent)
    written = load_file(tmp_path / "kohya.safetensors")
    assert torch.equal(written[f"{norm}.diff_b"], torch.ones(320))
    assert set(open_lora(tmp_path / "kohya.safetensors").modules) == {KEY, norm, f"{norm}.bias"}


def test_a_full_difference_alone_is_read_and_becomes_a_lora_of_any_rank(tmp_path: Path) -> None:
    wanted = torch.randn(320, 6) @ torch.randn(6, 768)
    path = write(tmp_path / "full.safetensors", {f"{KEY}.diff": wanted})
    assert inspect_file(path).what == "full differences of weights"
    made = resize(Term(path), tmp_path / "small.safetensors", Size(6), "auto", silent)
    assert made.energy == pytest.approx(1, abs=1e-4)
    module = read_lora(tmp_path / "small.safetensors").modules[KEY]
    torch.testing.assert_close(module.scale * module.up @ module.down, wanted, rtol=1e-2, atol=1e-2)


def test_a_first_text_encoder_alone_may_be_sd1s_or_sdxls(tmp_path: Path) -> None:
    name = TEXT.replace("lora_te_", "lora_te1_")

    def said(width: int, metadata: dict[str, str] | None = None) -> str:
        tensors = halves(f"{name}.lora_down.weight", f"{name}.lora_up.weight", (width, width))
        save_file(tensors, tmp_path / "te1.safetensors", metadata)
        return inspect_file(tmp_path / "te1.safetensors").architecture

    assert said(1024) == "sd2"
    assert said(768) == "sd1 or sdxl"
    assert said(768, {"ss_base_model_version": "sd_v1"}) == "sd1"
    assert said(768, {"ss_base_model_version": "sdxl_base_v1-0"}) == "sdxl"


@pytest.mark.parametrize("other", ["sd1", "sdxl"])
def test_it_meets_either_of_them_in_a_sum(tmp_path: Path, other: str) -> None:
    mine, its = (
        TEXT.replace("lora_te_", "lora_te1_"),
        {"sd1": TEXT, "sdxl": TEXT.replace("lora_te_", "lora_te1_")}[other],
    )
    te1 = write(tmp_path / "te1.safetensors", halves(f"{mine}.lora_down.weight", f"{mine}.lora_up.weight", (768, 768)))
    tensors = halves(f"{its}.lora_down.weight", f"{its}.lora_up.weight", (768, 768))
    width = {"sd1": 768, "sdxl": 2048}[other]
    tensors |= halves(f"{KEY}.lora_down.weight", f"{KEY}.lora_up.weight", (width, 320))
    whole = write(tmp_path / "whole.safetensors", tensors)
    assert open_lora(whole).architecture == other
    for number, terms in enumerate(([Term(te1), Term(whole)], [Term(whole), Term(te1)])):
        add(terms, tmp_path / f"{number}.safetensors", Size(), "auto", silent)
        assert open_lora(tmp_path / f"{number}.safetensors").modules[its].rank == 8
