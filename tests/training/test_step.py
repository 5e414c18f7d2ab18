"""One training step against the same step written out in plain torch: no peft, no code of the trainer."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_step import cloned_pairs, drawn_batch, load, plain_loss, prepared

from lora_core.diffusion.components import load_components
from lora_core.lora.inject import inject
from lora_core.recipe import Process, Training
from lora_core.training.loop import Stepper
from lora_core.training.optim import build_optimizer


@pytest.fixture(scope="module")
def folders(workshop: Any, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base of each architecture."""
    root = tmp_path_factory.mktemp("bases")
    return {"sd1": tiny_base, **{name: workshop.folder(root / name, name) for name in ("sd2", "sdxl")}}


@pytest.mark.parametrize("gamma", [0.0, 5.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_loss_and_gradients_are_those_of_plain_torch(
    folders: dict[str, Path], architecture: str, prediction: str, gamma: float
) -> None:
    batch = drawn_batch()
    stepper, layers, _ = prepared(folders[architecture], Training(min_snr_gamma=gamma), prediction)
    pairs = cloned_pairs(layers)
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
