"""One training step against the same step written out in plain torch: no peft, no code of the trainer."""

import math
from pathlib import Path

import pytest
import torch
from torch.func import functional_call

from lora_core.diffusion.components import Components, load_components
from lora_core.lora.inject import LoraLayer, inject
from lora_core.recipe import Training
from lora_core.training.loop import Batch, Stepper
from lora_core.training.optim import build_optimizer, warmup_factor

SCALE = 2 / 4  # alpha / rank


def load(folder: Path) -> Components:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return load_components(files, device=torch.device("cpu"), dtype=torch.float32)


def with_lora(
    model: torch.nn.Module, prefix: str, pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The model's weights with W + scale · up · down in the place of W."""
    weights = dict(model.named_parameters())
    found = {path: prefix + path.replace(".", "_") for path, _ in model.named_modules()}
    for path, name in found.items():
        if name in pairs:
            down, up = pairs[name]
            old = weights[f"{path}.weight"]
            weights[f"{path}.weight"] = old + SCALE * (up.flatten(1) @ down.flatten(1)).view(old.shape)
    return weights


def plain_loss(
    base: Components, pairs: dict[str, tuple[torch.Tensor, torch.Tensor]], batch: Batch, prediction: str, gamma: float
) -> torch.Tensor:
    betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2
    alpha = torch.cumprod(1 - betas, 0)[batch.timesteps].float()
    ids = base.tokenizers[0](list(batch.captions), padding="max_length", max_length=77, return_tensors="pt").input_ids
    text = base.text_encoders[0]
    states = functional_call(text, with_lora(text, "lora_te_text_model_", pairs), (ids,)).last_hidden_state
    signal, spread = alpha.sqrt()[:, None, None, None], (1 - alpha).sqrt()[:, None, None, None]
    noisy = signal * batch.latents + spread * batch.noise
    inputs = (noisy, batch.timesteps, states)
    output = functional_call(base.unet, with_lora(base.unet, "lora_unet_", pairs), inputs).sample
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
        latents=torch.randn(3, 4, 4, 4, generator=generator),
        noise=torch.randn(3, 4, 4, 4, generator=generator),
        timesteps=torch.tensor([5, 400, 990]),
        captions=("hc_hero, 1girl", "hcstyle 1girl", "cat ears"),
        weights=torch.tensor([1.0, 0.5, 1.0]),
    )


def prepared(
    folder: Path, options: Training, prediction: str
) -> tuple[Stepper, tuple[LoraLayer, ...], torch.optim.Optimizer]:
    components = load(folder)
    object.__setattr__(components, "prediction_type", prediction)
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
def test_loss_and_gradients_are_those_of_plain_torch(tiny_base: Path, prediction: str, gamma: float) -> None:
    batch = drawn_batch()
    stepper, layers, _ = prepared(tiny_base, Training(min_snr_gamma=gamma), prediction)
    pairs = {
        layer.name: (layer.down.detach().clone().requires_grad_(), layer.up.detach().clone().requires_grad_())
        for layer in layers
    }
    wanted = plain_loss(load(tiny_base), pairs, batch, prediction, gamma)
    loss = stepper.loss(batch)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-6)
    wanted.backward()
    loss.backward()
    for layer in layers:
        down, up = pairs[layer.name]
        torch.testing.assert_close(layer.down.grad, down.grad, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(layer.up.grad, up.grad, atol=1e-6, rtol=1e-4)
    assert sum(layer.up.grad.abs().max() > 1e-6 for layer in layers if layer.up.grad is not None) > len(layers) / 2


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
    broken = Batch(batch.latents * float("inf"), batch.noise, batch.timesteps, batch.captions, batch.weights)
    with pytest.raises(FloatingPointError, match="loss nan"):
        stepper.step(broken, 0)
    assert all(torch.equal(layer.up, old) for layer, old in zip(layers, before, strict=True))
    assert not optimizer.state


def test_the_rate_rises_over_the_warm_up_and_stays() -> None:
    assert [warmup_factor(step, 4) for step in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert warmup_factor(0, 0) == 1.0
