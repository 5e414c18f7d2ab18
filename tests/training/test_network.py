"""Where the LoRA goes, how wide and fast, what is left out of it, how large it may become."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from plain_step import drawn_batch, load, prepared
from pydantic import ValidationError
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.diffusion.components import Components
from lora_core.errors import RecipeError
from lora_core.lora.base import block_of, targets
from lora_core.lora.inject import ADAPTER, inject, limit_norms, product_norm
from lora_core.lora.naming import Build
from lora_core.recipe import Network, Training
from lora_core.training.dropout import Dropout

_CONFIGS = Path(__file__).parents[2] / "lora_core/diffusion/configs"


@pytest.fixture(scope="module")
def whole() -> dict[str, Components]:
    """SD1 and SDXL at full size, without memory."""
    found = {}
    for name in ("sd1", "sdxl"):
        configs = json.loads((_CONFIGS / f"{name}.json").read_text())
        with torch.device("meta"):
            texts: list[Any] = [CLIPTextModel(CLIPTextConfig(**configs["text_encoder"]))]
            if "text_encoder_2" in configs:
                texts.append(CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"])))
            unet = UNet2DConditionModel.from_config(configs["unet"])
            vae = AutoencoderKL.from_config(configs["vae"])
        found[name] = Components(name, unet, vae, tuple(texts), (), "epsilon")  # type: ignore[arg-type]
    return found


def found(base: Components, network: Network, **more: Any) -> dict[str, tuple[int, float, float]]:
    asked = {"rank": 32, "alpha": 16.0, "unet": True, "text_encoder": True, **more}
    return {each.name: (each.rank, each.alpha, each.lr_factor) for each in targets(base, network, **asked)}


def test_without_options_every_module_is_as_wide_as_the_recipe_says(whole: dict[str, Components]) -> None:
    modules = found(whole["sd1"], Network())
    assert len(modules) == 264
    assert set(modules.values()) == {(32, 16.0, 1.0)}


def test_convolutions_are_sd_scripts_choice_of_locon_modules(whole: dict[str, Components]) -> None:
    """22 residual blocks: conv1, conv2 and time_emb_proj each, 14 with a 1×1 shortcut; 3 + 3 samplers."""
    modules = found(whole["sd1"], Network(conv_rank=8), text_encoder=False)
    more = {name: width for name, width in modules.items() if name not in found(whole["sd1"], Network())}
    assert len(more) == 22 * 3 + 14 + 6
    wide = {name for name, width in more.items() if width == (8, 4.0, 1.0)}
    assert len(wide) == 22 * 2 + 6
    assert {width for name, width in more.items() if name not in wide} == {(32, 16.0, 1.0)}
    assert "lora_unet_down_blocks_0_downsamplers_0_conv" in wide
    assert "lora_unet_up_blocks_3_resnets_2_conv2" in wide
    assert "lora_unet_up_blocks_3_resnets_2_conv_shortcut" in more.keys() - wide


def test_sdxl_convolutions_have_the_original_layouts_names(whole: dict[str, Components]) -> None:
    modules = found(whole["sdxl"], Network(conv_rank=4, conv_alpha=1), text_encoder=False)
    assert modules["lora_unet_input_blocks_1_0_in_layers_2"] == (4, 1.0, 1.0)
    assert modules["lora_unet_input_blocks_3_0_op"] == (4, 1.0, 1.0)
    assert not any("_down_blocks_" in name for name in modules)


def test_text_encoders_can_have_a_rank_and_an_alpha_of_their_own(whole: dict[str, Components]) -> None:
    modules = found(whole["sdxl"], Network(text_encoder_rank=8))
    assert {each for name, each in modules.items() if name.startswith("lora_te")} == {(8, 4.0, 1.0)}
    assert {each for name, each in modules.items() if name.startswith("lora_unet")} == {(32, 16.0, 1.0)}
    modules = found(whole["sd1"], Network(text_encoder_rank=8, text_encoder_alpha=1))
    assert modules["lora_te_text_model_encoder_layers_0_mlp_fc1"] == (8, 1.0, 1.0)


@pytest.mark.parametrize(
    ("path", "block"),
    [
        ("down_blocks.0.attentions.0.proj_in", "IN01"),
        ("down_blocks.0.attentions.1.proj_in", "IN02"),
        ("down_blocks.2.attentions.1.proj_in", "IN08"),
        ("down_blocks.3.resnets.1.conv1", "IN11"),
        ("mid_block.attentions.0.proj_in", "MID"),
        ("mid_block.resnets.1.conv1", "MID"),
        ("up_blocks.0.resnets.0.conv1", "OUT00"),
        ("up_blocks.1.attentions.0.proj_in", "OUT03"),
        ("up_blocks.3.attentions.2.proj_in", "OUT11"),
    ],
)
def test_blocks_are_named_as_web_uis_name_them(path: str, block: str) -> None:
    assert block_of(path, Build(2, (False, True, True, True))) == block


def test_block_rates_go_by_group_and_then_by_block(whole: dict[str, Components]) -> None:
    network = Network(block_lr=("IN = 0.5", "IN04=2", "MID = 0", "OUT11 = .25"))
    modules = found(whole["sd1"], network)
    factors = {name.removesuffix("_proj_in"): each[2] for name, each in modules.items() if name.endswith("proj_in")}
    assert factors["lora_unet_down_blocks_0_attentions_0"] == pytest.approx(0.5)
    assert factors["lora_unet_down_blocks_1_attentions_0"] == pytest.approx(2.0)  # IN04
    assert factors["lora_unet_up_blocks_3_attentions_2"] == pytest.approx(0.25)
    assert factors["lora_unet_up_blocks_3_attentions_1"] == pytest.approx(1.0)
    assert not any("mid_block" in name for name in modules)


def test_blocks_that_are_not_there_are_named_with_those_that_are(whole: dict[str, Components]) -> None:
    with pytest.raises(RecipeError, match=r"block_lr names IN00, where .* it has IN, IN01, .*OUT11"):
        found(whole["sd1"], Network(block_lr=("IN00 = 1",)))  # the first convolution: no attention
    with pytest.raises(RecipeError, match="OUT09"):
        found(whole["sdxl"], Network(block_lr=("OUT09 = 1",)))
    with pytest.raises(RecipeError, match="nothing is left"):
        found(whole["sd1"], Network(block_lr=("IN = 0", "MID = 0", "OUT = 0")), text_encoder=False)
    with pytest.raises(ValidationError, match="write a block and a factor"):
        Network(block_lr=("IN4 = 1",))


# ── leaving out ──────────────────────────────────────────────────────────────────────────────────────────────────────


def hidden(folder: Path, network: Network, samples: list[tuple[int, int, int]]) -> list[torch.Tensor]:
    """The values between down and up of one module after dropout, over those before, for each sample."""
    _, layers, _ = prepared(folder, Training(), "epsilon")
    dropout = Dropout(layers, network)
    module: Any = next(layer for layer in layers if layer.part == "unet").module.lora_A[ADAPTER]  # type: ignore[union-attr,index]
    inputs = torch.rand(len(samples), module.weight.shape[1], 6, 5) + 0.5
    with dropout.drawn_for(samples):
        dropped = module(inputs)
    for handle in list(module._forward_hooks):
        del module._forward_hooks[handle]
    return list(dropped / module(inputs))


SAMPLES = [(7, 0, position) for position in range(400)]


def test_dropout_leaves_single_values_out_and_scales_the_others(tiny_base: Path) -> None:
    shares = torch.stack(hidden(tiny_base, Network(dropout=0.25), SAMPLES))
    assert set(shares.double().flatten().round(decimals=4).tolist()) == {0.0, 1.3333}
    assert (shares == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)


def test_rank_dropout_leaves_whole_ranks_out_and_scales_the_others(tiny_base: Path) -> None:
    shares = torch.stack(hidden(tiny_base, Network(rank_dropout=0.25), SAMPLES))
    assert torch.equal(shares == 0, (shares[:, :, :1, :1] == 0).expand(shares.shape))
    assert set(shares.double().flatten().round(decimals=4).tolist()) == {0.0, 1.3333}
    assert (shares == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)


def test_module_dropout_leaves_the_module_out_and_scales_nothing(tiny_base: Path) -> None:
    shares = torch.stack(hidden(tiny_base, Network(module_dropout=0.25), SAMPLES))
    assert torch.equal(shares == 0, (shares[:, :1, :1, :1] == 0).expand(shares.shape))
    assert set(shares.double().flatten().round(decimals=4).tolist()) == {0.0, 1.0}
    assert (shares[:, 0, 0, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.08)


def test_what_is_left_out_depends_on_the_sample_and_not_on_its_batch(tiny_base: Path) -> None:
    network = Network(dropout=0.5, rank_dropout=0.2, module_dropout=0.1)
    together = hidden(tiny_base, network, SAMPLES[:3])
    alone = [hidden(tiny_base, network, [sample])[0] for sample in SAMPLES[:3]]
    assert all(torch.equal(one == 0, other == 0) for one, other in zip(together, alone, strict=True))
    assert not torch.equal(together[0] == 0, together[1] == 0)


# ── how large ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_norm_of_a_product_needs_no_product() -> None:
    down, up = torch.randn(4, 30, 3, 3), torch.randn(20, 4, 1, 1)
    torch.testing.assert_close(product_norm(down, up), (up.flatten(1) @ down.flatten(1)).norm())


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr"])
def test_what_is_larger_than_allowed_is_scaled_down_and_nothing_else(tiny_base: Path, kind: Any) -> None:
    _, layers, _ = prepared(tiny_base, Training(network=Network(kind=kind)), "epsilon")

    def changes() -> list[torch.Tensor]:
        modules: list[Any] = [layer.module for layer in layers]
        return [module.get_delta_weight(ADAPTER).detach() for module in modules]

    before = changes()
    largest = sorted(each.norm().item() for each in before)[len(before) // 2]
    limit_norms(layers, largest)
    for old, new in zip(before, changes(), strict=True):
        torch.testing.assert_close(new, old * min(1.0, largest / old.norm().item()), atol=1e-6, rtol=1e-4)


def test_a_step_keeps_within_the_largest_norm(tiny_base: Path) -> None:
    options = Training(unet_lr=0.1, text_encoder_lr=0.1, network=Network(max_norm=0.05))
    stepper, layers, _ = prepared(tiny_base, options, "epsilon")
    stepper.step(drawn_batch(), 0)
    norms = [product_norm(layer.down, layer.up).item() * 2 / 4 for layer in layers]
    assert max(norms) == pytest.approx(0.05, rel=1e-4)


def test_options_that_do_not_fit_the_kind_are_refused() -> None:
    with pytest.raises(ValidationError, match="rank_dropout or module_dropout"):
        Network(kind="loha", dropout=0.1)
    with pytest.raises(ValidationError, match="lokr"):
        Network(factor=8)


def test_another_rank_for_some_modules_is_what_the_model_computes_with(tiny_base: Path) -> None:
    base = load(tiny_base)
    network = Network(conv_rank=2, conv_alpha=6, text_encoder_rank=3, text_encoder_alpha=9)
    for layer in inject(base, rank=4, alpha=2, unet=True, text_encoder=True, seed=0, network=network):
        module: Any = layer.module
        assert layer.down.shape[0] == layer.up.shape[1] == layer.rank
        assert module.scaling[ADAPTER] == layer.alpha / layer.rank
        conv = layer.part == "unet" and layer.down.shape[2:] == (3, 3)
        assert (layer.rank, layer.alpha) == ((2, 6) if conv else (4, 2) if layer.part == "unet" else (3, 9))
