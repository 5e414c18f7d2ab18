"""One training step against the same step written out in plain torch: no peft, no code of the trainer."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import functional_call

from lora_core.diffusion.components import Components, load_components
from lora_core.lora.inject import LoraLayer, inject
from lora_core.recipe import Process, Training
from lora_core.training.loop import Batch, Stepper
from lora_core.training.optim import build_optimizer, warmup_factor

SCALE = 2 / 4  # alpha / rank
SIZES = [[1024, 768, 0, 5, 64, 48], [600, 600, 3, 0, 64, 64], [80, 100, 0, 0, 80, 96]]
Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]


def load(folder: Path, prediction: str = "auto") -> Components:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    process = Process.model_validate({"prediction": prediction})
    return load_components(files, device=torch.device("cpu"), dtype=torch.float32, process=process)


@pytest.fixture(scope="module")
def folders(workshop: Any, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base of each architecture."""
    root = tmp_path_factory.mktemp("bases")
    return {"sd1": tiny_base, **{name: workshop.folder(root / name, name) for name in ("sd2", "sdxl")}}


def sdxl_name(path: str) -> str:
    """The original layout's name of a module inside an SDXL U-Net of two layers a level: blocks are counted through."""
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.attentions\.(\d)\.(.*)", path)
    if found is None:
        return path.replace("mid_block.attentions.0", "middle_block.1")
    block = 3 * int(found[2]) + int(found[3])
    way = f"input_blocks.{block + 1}" if found[1] == "down" else f"output_blocks.{block}"
    return f"{way}.1.{found[4]}"


def with_lora(model: torch.nn.Module, prefix: str, pairs: Pairs, *, xl: bool = False) -> dict[str, torch.Tensor]:
    """The model's weights with W + scale · up · down in the place of W."""
    weights = dict(model.named_parameters())
    for path, _ in model.named_modules():
        name = prefix + (sdxl_name(path) if xl else path.removeprefix("text_model.")).replace(".", "_")
        if name in pairs:
            down, up = pairs[name]
            old = weights[f"{path}.weight"]
            weights[f"{path}.weight"] = old + SCALE * (up.flatten(1) @ down.flatten(1)).view(old.shape)
    return weights


def plain_condition(base: Components, pairs: Pairs, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 77, width) hidden states and SDXL's (B, P) pooled state, which is empty for the others."""
    ids = [
        tokenizer(list(captions), padding="max_length", max_length=77, return_tensors="pt").input_ids
        for tokenizer in base.tokenizers
    ]
    if len(ids) == 1:
        text = base.text_encoders[0]
        said = functional_call(text, with_lora(text, "lora_te_text_model_", pairs), (ids[0],))
        return said.last_hidden_state, torch.empty(0)
    said, other = (
        functional_call(text, with_lora(text, f"{name}_text_model_", pairs), (its,), {"output_hidden_states": True})
        for name, text, its in zip(("lora_te1", "lora_te2"), base.text_encoders, ids, strict=True)
    )
    ends = [row.tolist().index(49407) for row in ids[1]]
    at_end = torch.stack([states[end] for states, end in zip(other.last_hidden_state, ends, strict=True)])
    projection = base.text_encoders[1].text_projection.weight
    return torch.cat((said.hidden_states[1], other.hidden_states[1]), dim=2), at_end @ projection.T  # 1 of 0, 1, 2


def plain_loss(base: Components, pairs: Pairs, batch: Batch, prediction: str, gamma: float) -> torch.Tensor:
    betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2
    alpha = torch.cumprod(1 - betas, 0)[batch.timesteps].float()
    states, pooled = plain_condition(base, pairs, batch.captions)
    signal, spread = alpha.sqrt()[:, None, None, None], (1 - alpha).sqrt()[:, None, None, None]
    inputs = (signal * batch.latents + spread * batch.noise, batch.timesteps, states)
    xl = bool(pooled.numel())
    more = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.tensor(SIZES).float()}} if xl else {}
    output = functional_call(base.unet, with_lora(base.unet, "lora_unet_", pairs, xl=xl), inputs, more).sample
    wanted = batch.noise if prediction == "epsilon" else signal * batch.noise - spread * batch.latents
    weights = batch.weights
    if gamma:
        ratio = alpha / (1 - alpha)
        below = ratio if prediction == "epsilon" else ratio + 1
        weights = weights * torch.minimum(ratio, torch.full_like(ratio, gamma)) / below
    losses = ((output - wanted) ** 2).flatten(1).mean(1)
    return (losses * weights).sum() / len(losses)


def drawn_batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    return Batch(
        latents=torch.randn(3, 4, 8, 8, generator=generator),
        noise=torch.randn(3, 4, 8, 8, generator=generator),
        timesteps=torch.tensor([5, 400, 990]),
        captions=("hc_hero, 1girl", "hcstyle 1girl", "cat ears"),
        weights=torch.tensor([1.0, 0.5, 1.0]),
        sizes=torch.tensor(SIZES),
    )


def prepared(
    folder: Path, options: Training, prediction: str
) -> tuple[Stepper, tuple[LoraLayer, ...], torch.optim.Optimizer]:
    components = load(folder, prediction)
    layers = inject(components, rank=4, alpha=2, unet=True, text_encoder=True, seed=1)
    generator = torch.Generator().manual_seed(5)
    for layer in layers:
        with torch.no_grad():
            layer.up.copy_(0.1 * torch.randn(layer.up.shape, generator=generator))
    optimizer = build_optimizer(layers, options)
    stepper = Stepper(components, layers, optimizer, options, clip_skip=1, dtype=torch.float32)
    return stepper, layers, optimizer


@pytest.mark.parametrize("gamma", [0.0, 5.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_loss_and_gradients_are_those_of_plain_torch(
    folders: dict[str, Path], architecture: str, prediction: str, gamma: float
) -> None:
    batch = drawn_batch()
    stepper, layers, _ = prepared(folders[architecture], Training(min_snr_gamma=gamma), prediction)
    pairs = {
        layer.name: (layer.down.detach().clone().requires_grad_(), layer.up.detach().clone().requires_grad_())
        for layer in layers
    }
    wanted = plain_loss(load(folders[architecture]), pairs, batch, prediction, gamma)
    loss = stepper.loss(batch)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-6)
    wanted.backward()
    loss.backward()
    unread = [layer.name for layer in layers if layer.up.grad is None]
    last = "lora_te1_text_model_encoder_layers_1_"  # SDXL reads the first text encoder's last layer but one
    assert all(name.startswith(last) for name in unread)
    assert len(unread) == (6 if architecture == "sdxl" else 0)
    assert all(pairs[name][1].grad is None for name in unread)
    for layer in layers:
        for mine, theirs in zip((layer.down.grad, layer.up.grad), pairs[layer.name], strict=True):
            if mine is not None and theirs.grad is not None:
                error = mine - theirs.grad
                assert error.abs().max() < 1e-6
                assert error.norm() < 5e-5 * theirs.grad.norm()  # what rounding to float32 comes to, layer upon layer


def test_a_step_is_clipped_adamw_with_its_own_rate_for_each_part(tiny_base: Path) -> None:
    options = Training(unet_lr=1e-2, text_encoder_lr=1e-3, max_grad_norm=0.01, weight_decay=0.1)
    batch = drawn_batch()
    stepper, layers, _ = prepared(tiny_base, options, "epsilon")
    before = {layer.name: layer.up.detach().clone() for layer in layers}
    stepper.loss(batch).backward()
    matrices = [matrix for layer in layers for matrix in (layer.down, layer.up)]
    norm = math.sqrt(sum(float((matrix.grad.double() ** 2).sum()) for matrix in matrices if matrix.grad is not None))
    gradients = {layer.name: layer.up.grad.clone() * 0.01 / norm for layer in layers if layer.up.grad is not None}
    assert norm > 0.01
    stepper.step(batch, 0)
    for layer in layers:
        rate = 1e-2 if layer.part == "unet" else 1e-3
        gradient = gradients[layer.name]  # AdamW's first step: both corrected moments are the gradient itself
        wanted = before[layer.name] * (1 - rate * 0.1) - rate * gradient / (gradient.abs() + 1e-8)
        close = gradient.abs() > 1e-6  # where the gradient is rounding noise, so is its sign
        torch.testing.assert_close(layer.up.detach()[close], wanted[close], atol=1e-5, rtol=1e-4)


def test_nothing_changes_when_the_loss_is_not_finite(tiny_base: Path) -> None:
    stepper, layers, optimizer = prepared(tiny_base, Training(), "epsilon")
    before = [layer.up.detach().clone() for layer in layers]
    batch = drawn_batch()
    broken = replace(batch, latents=batch.latents * float("inf"))
    with pytest.raises(FloatingPointError, match="loss nan"):
        stepper.step(broken, 0)
    assert all(torch.equal(layer.up, old) for layer, old in zip(layers, before, strict=True))
    assert not optimizer.state


def test_with_zero_terminal_snr_the_last_timestep_is_pure_noise_and_v_is_the_picture_turned_over(
    workshop: Any, tmp_path: Path
) -> None:
    folder = workshop.folder(tmp_path / "folder", "sd2")
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    process = Process(prediction="v_prediction", zero_terminal_snr=True)
    components = load_components(files, device=torch.device("cpu"), dtype=torch.float32, process=process)
    layers = inject(components, rank=4, alpha=2, unet=True, text_encoder=False, seed=1)
    stepper = Stepper(
        components, layers, build_optimizer(layers, Training()), Training(), clip_skip=1, dtype=torch.float32
    )
    seen: list[torch.Tensor] = []
    components.unet.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0], output[0])))
    batch = replace(drawn_batch(), timesteps=torch.tensor([999] * 3))
    loss = stepper.loss(batch)
    assert torch.equal(seen[0], batch.noise)
    errors = ((seen[1] + batch.latents) ** 2).mean(dim=(1, 2, 3))
    assert loss.item() == pytest.approx((errors * batch.weights).mean().item(), rel=1e-6)


def test_the_rate_rises_over_the_warm_up_and_stays() -> None:
    assert [warmup_factor(step, 4) for step in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert warmup_factor(0, 0) == 1.0
