"""What the options do to one step, against plain torch."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_step import cloned_pairs, drawn_batch, load, plain_output, plain_target, prepared
from pydantic import ValidationError

from lora_core.recipe import Training
from lora_core.training.batch import Batch
from lora_core.training.memory import enable_gradient_checkpointing
from lora_core.training.regularize import MovingAverage


def gradients(folder: Path, options: Training, batch: Batch, prediction: str = "epsilon") -> dict[str, torch.Tensor]:
    """Of one step of the trainer; it moves nothing."""
    still = options.model_copy(update={"max_grad_norm": 0.0, "warmup_steps": 5})
    stepper, layers, _ = prepared(folder, still, prediction)
    loss = stepper.step(batch, 0).loss
    found = {f"{layer.name}.{key}": each.grad for layer in layers for key, each in layer.matrices.items()}
    return {"loss": torch.tensor(loss), **{name: each for name, each in found.items() if each is not None}}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_debiased_estimation_weighs_by_the_root_of_the_ratio(tiny_base: Path, prediction: str) -> None:
    batch = drawn_batch()  # timesteps 5, 400, 990: the first one's ratio is above sd-scripts' bound of 1000 at t < 1
    stepper, layers, _ = prepared(tiny_base, Training(debiased=True), prediction)
    output, alpha = plain_output(load(tiny_base), cloned_pairs(layers), batch, batch.noise)
    ratio = (alpha / (1 - alpha)).clamp(max=1000)
    weights = batch.weights / (ratio.sqrt() if prediction == "epsilon" else ratio + 1)
    losses = ((output - plain_target(batch, alpha, prediction)) ** 2).flatten(1).mean(1)
    assert stepper.loss(batch).item() == pytest.approx((losses * weights).mean().item(), rel=1e-5)


def test_the_perturbed_noise_is_mixed_in_and_the_plain_one_is_predicted(tiny_base: Path) -> None:
    extra = 0.1 * torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    batch = replace(drawn_batch(), perturbation=extra)
    stepper, layers, _ = prepared(tiny_base, Training(), "epsilon")
    output, _ = plain_output(load(tiny_base), cloned_pairs(layers), batch, batch.noise + extra)
    losses = ((output - batch.noise) ** 2).flatten(1).mean(1)
    assert stepper.loss(batch).item() == pytest.approx((losses * batch.weights).mean().item(), abs=1e-6)


def test_a_mask_counts_each_place_by_its_share(tiny_base: Path) -> None:
    masks = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(9))
    batch = replace(drawn_batch(), masks=masks)
    stepper, layers, _ = prepared(tiny_base, Training(), "epsilon")
    output, _ = plain_output(load(tiny_base), cloned_pairs(layers), batch, batch.noise)
    losses = ((output - batch.noise) ** 2 * masks).flatten(1).mean(1)
    assert stepper.loss(batch).item() == pytest.approx((losses * batch.weights).mean().item(), abs=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_teacher_sets_the_target_of_regularization_samples_alone(tiny_base: Path, prediction: str) -> None:
    batch = drawn_batch()  # the second sample is a regularization picture
    options = Training(prior_preservation="teacher")
    stepper, layers, _ = prepared(tiny_base, options, prediction)
    pairs = cloned_pairs(layers)
    output, alpha = plain_output(load(tiny_base), pairs, batch, batch.noise)
    with torch.no_grad():
        without, _ = plain_output(load(tiny_base), {}, batch, batch.noise)
    wanted = plain_target(batch, alpha, prediction).clone()
    wanted[1] = without[1]
    loss = (((output - wanted) ** 2).flatten(1).mean(1) * batch.weights).mean()
    loss.backward()
    found = stepper.loss(batch)
    assert found.item() == pytest.approx(loss.item(), abs=1e-6)
    found.backward()
    for layer in layers:
        for mine, theirs in zip((layer.down.grad, layer.up.grad), pairs[layer.name], strict=True):
            assert mine is not None
            torch.testing.assert_close(mine, theirs.grad, atol=1e-6, rtol=1e-3)


def test_a_teacher_and_an_untouched_lora_agree(tiny_base: Path) -> None:
    """Of regularization samples alone: before the first step there is nothing to learn from them."""
    stepper, layers, _ = prepared(tiny_base, Training(prior_preservation="teacher"), "epsilon")
    for layer in layers:
        layer.up.data.zero_()
    batch = replace(drawn_batch(), prior=torch.tensor([True] * 3))
    assert stepper.loss(batch).item() == pytest.approx(0, abs=1e-9)


def split_in_time(batch: Batch) -> Batch:
    """Seven samples out of three."""
    order = torch.tensor([0, 1, 2, 0, 2, 1, 0])
    changed = {
        each.name: getattr(batch, each.name)[order]
        for each in dataclasses.fields(batch)
        if isinstance(getattr(batch, each.name), torch.Tensor)
    }
    places = order.tolist()
    return replace(
        batch,
        **changed,
        captions=tuple(batch.captions[place] for place in places),
        counters=tuple((1, 0, place) for place in range(7)),
        masks=torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(2)),
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "min_snr_gamma": 5.0,
            "prior_preservation": "teacher",
            "network": {"dropout": 0.2, "rank_dropout": 0.3, "module_dropout": 0.1},
        },
    ],
    ids=["plain", "with everything drawn"],
)
def test_accumulating_small_batches_is_one_large_batch(tiny_base: Path, more: dict[str, object]) -> None:
    batch = split_in_time(drawn_batch())
    whole = gradients(tiny_base, Training.model_validate({"batch": 8, **more}), batch)
    parts = gradients(tiny_base, Training.model_validate({"batch": 2, "accumulation": 4, **more}), batch)
    assert whole.keys() == parts.keys()
    for name, each in whole.items():
        assert (each - parts[name]).abs().max() < 1e-6, name


def test_computing_twice_gives_the_same_gradients(tiny_base: Path) -> None:
    batch = drawn_batch()
    network = {"dropout": 0.2, "rank_dropout": 0.3, "module_dropout": 0.1}
    options = Training.model_validate({"network": network})
    found = []
    for twice in (False, True):
        stepper, layers, _ = prepared(tiny_base, options, "epsilon")
        counts = {"resnet": 0, "layer": 0}

        def count(name: str, its: dict[str, int] = counts) -> None:
            its[name] += 1

        unet, encoder = stepper._components.unet, stepper._components.text_encoders[0]
        unet.up_blocks[-1].resnets[-1].register_forward_pre_hook(lambda *_, count=count: count("resnet"))
        inside = next(each for name, each in encoder.named_modules() if name.endswith("layers.0.self_attn"))
        inside.register_forward_pre_hook(lambda *_, count=count: count("layer"))
        if twice:
            enable_gradient_checkpointing(stepper._components)
        with stepper._dropout.drawn_for(batch.counters):
            loss = stepper.loss(batch)
            loss.backward()
        assert counts == dict.fromkeys(counts, 2 if twice else 1)
        found.append([loss.detach(), *(each.grad for layer in layers for each in (layer.down, layer.up))])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again, atol=1e-7, rtol=1e-5)


def test_the_moving_average_follows_its_formula() -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    average = MovingAverage([parameter], 0.25)
    parameter.data.fill_(2.0)
    average.update(0)  # decay 1/10: 0.1 · 1 + 0.9 · 2
    assert average.values[0].item() == pytest.approx(1.9)
    parameter.data.fill_(4.0)
    average.update(1)  # decay 2/11
    assert average.values[0].item() == pytest.approx(2 / 11 * 1.9 + 9 / 11 * 4)
    before = average.values[0].item()
    average.update(1000)  # decay 0.25 from here on
    assert average.values[0].item() == pytest.approx(0.25 * before + 0.75 * 4)


def test_two_weights_by_the_ratio_are_refused() -> None:
    with pytest.raises(ValidationError, match="two weights"):
        Training(min_snr_gamma=5, debiased=True)
