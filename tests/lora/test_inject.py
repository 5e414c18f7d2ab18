"""LoRA layers in a model: names, shapes, first values."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.diffusion.components import Components
from lora_core.errors import LoraError
from lora_core.lora.inject import first_values, inject

_ROOT = Path(__file__).parents[2]


def real_architecture(name: Any) -> Components:
    """The architecture at its full size, without memory."""
    configs = json.loads((_ROOT / f"lora_core/diffusion/configs/{name}.json").read_text())
    with torch.device("meta"):
        texts: list[Any] = [CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))]
        if "text_encoder_2" in configs:
            texts.append(CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"])))
        unet = UNet2DConditionModel.from_config(configs["unet"])
        vae = AutoencoderKL.from_config(configs["vae"])
    return Components(name, unet, vae, tuple(texts), (), "epsilon")


@pytest.mark.parametrize(("architecture", "golden"), [("sd1", "sd15"), ("sdxl", "sdxl")])
def test_names_and_shapes_are_those_of_sd_scripts_for_the_real_architecture(architecture: str, golden: str) -> None:
    base = real_architecture(architecture)
    with torch.device("meta"):
        layers = inject(base, rank=4, alpha=1.0, unet=True, text_encoder=True, seed=0)
    found: dict[str, list[int]] = {}
    for layer in layers:
        found[f"{layer.name}.alpha"] = []
        found[f"{layer.name}.lora_down.weight"] = list(layer.down.shape)
        found[f"{layer.name}.lora_up.weight"] = list(layer.up.shape)
    reference = json.loads((_ROOT / f"tests/golden/lora_keys_{golden}_rank4.json").read_text())
    assert found == reference["keys"]
    assert len(layers) == reference["modules"]
    assert sum(layer.down.numel() + layer.up.numel() for layer in layers) == reference["trainable_params"]


def test_a_new_lora_changes_nothing_and_only_it_is_trained(workshop: Any, tmp_path: Path) -> None:
    base = workshop.load(workshop.single_file(tmp_path / "m.safetensors", "sd1"))
    before = workshop.draw(base)
    layers = inject(base, rank=2, alpha=1.0, unet=True, text_encoder=True, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(before, workshop.draw(base), strict=True))
    trained = [p for model in (base.unet, *base.text_encoders) for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in trained} == {id(p) for layer in layers for p in (layer.down, layer.up)}
    assert all(p.dtype == torch.float32 for p in trained)
    assert {layer.part for layer in layers} == {"unet", "text_encoder"}


def test_alpha_over_rank_scales_what_the_model_computes(workshop: Any, tmp_path: Path) -> None:
    path = workshop.single_file(tmp_path / "m.safetensors", "sd1")
    drawn = []
    for rank, alpha, up in ((2, 1.0, 0.2), (2, 2.0, 0.1)):
        base = workshop.load(path)
        for layer in inject(base, rank=rank, alpha=alpha, unet=True, text_encoder=False, seed=5):
            layer.up.data.fill_(up)
        drawn.append(workshop.draw(base)[0])
    torch.testing.assert_close(drawn[0], drawn[1], rtol=1e-4, atol=1e-5)


def test_first_values_depend_on_seed_and_name_alone_and_keep_within_their_bound() -> None:
    values = first_values((4, 25), 1, "lora_unet_a")
    assert torch.equal(values, first_values((4, 25), 1, "lora_unet_a"))
    assert not torch.equal(values, first_values((4, 25), 1, "lora_unet_b"))
    assert not torch.equal(values, first_values((4, 25), 2, "lora_unet_a"))
    assert values.abs().max() <= 1 / 5  # kaiming_uniform(a=√5): √(6 / (1 + 5) / 25)
    assert values.abs().max() > 0.9 / 5


def test_one_part_alone_can_be_trained(workshop: Any, tmp_path: Path) -> None:
    base = workshop.load(workshop.single_file(tmp_path / "m.safetensors", "sd1"))
    layers = inject(base, rank=2, alpha=1.0, unet=False, text_encoder=True, seed=0)
    assert {layer.part for layer in layers} == {"text_encoder"}
    with pytest.raises(LoraError, match="has a LoRA"):
        inject(base, rank=2, alpha=1.0, unet=False, text_encoder=True, seed=0)
    with pytest.raises(LoraError, match="neither"):
        inject(base, rank=2, alpha=1.0, unet=False, text_encoder=False, seed=0)
