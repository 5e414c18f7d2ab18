"""Every optimizer's step against its paper, and the rates they are given."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from transformers import get_scheduler

from lora_core.errors import RecipeError, TrainingError
from lora_core.lora.inject import LoraLayer
from lora_core.recipe import Training
from lora_core.training.optim import (
    build_optimizer,
    optimizer_name,
    optimizer_settings,
    rate_factor,
    rate_remarks,
    set_rates,
)
from lora_core.training.resume import Position, State


def layer(values: torch.Tensor, factor: float = 1.0, part: Any = "unet") -> LoraLayer:
    matrices = {"lora_down.weight": nn.Parameter(values.clone())}
    return LoraLayer("lora_unet_a", part, matrices, 2, 1.0, factor, nn.Identity())


def moved(options: Training, gradients: list[torch.Tensor], start: torch.Tensor) -> tuple[torch.Tensor, Any]:
    one = layer(start)
    optimizer = build_optimizer([one], options)
    for gradient in gradients:
        one.down.grad = gradient.clone()
        optimizer.step()
    return one.down.detach(), optimizer


START = torch.tensor([[0.3, -0.2, 0.1], [0.5, 0.0, -0.4]])
GRADIENTS = [
    torch.tensor([[0.1, -0.5, 0.0], [2.0, 0.3, -0.2]]),
    torch.tensor([[-0.4, -0.1, 0.2], [1.0, -0.6, 0.1]]),
]


def test_lion_moves_by_the_sign_of_what_is_interpolated() -> None:
    found, _ = moved(Training(optimizer="lion", unet_lr=0.01, weight_decay=0.1), GRADIENTS, START)
    wanted, momentum = START, torch.zeros_like(START)
    for gradient in GRADIENTS:  # Chen et al. 2023, algorithm 2
        update = torch.sign(0.9 * momentum + 0.1 * gradient)
        wanted = wanted - 0.01 * (update + 0.1 * wanted)
        momentum = 0.99 * momentum + 0.01 * gradient
    torch.testing.assert_close(found, wanted)


def test_adafactor_divides_by_what_rows_and_columns_say_of_the_squares() -> None:
    found, _ = moved(Training(optimizer="adafactor", unet_lr=0.01, weight_decay=0.1), GRADIENTS, START)
    wanted, rows, columns = START, torch.zeros(2), torch.zeros(3)
    for step, gradient in enumerate(GRADIENTS, 1):  # Shazeer and Stern 2018, algorithm 4, at a given rate
        keep = 1 - step**-0.8
        squares = gradient**2 + 1e-30
        rows, columns = keep * rows + (1 - keep) * squares.mean(1), keep * columns + (1 - keep) * squares.mean(0)
        update = gradient / (torch.outer(rows, columns) / rows.mean()).sqrt()
        update = update / max(1.0, float((update**2).mean().sqrt()))
        wanted = wanted * (1 - 0.1 * 0.01) - 0.01 * update
    torch.testing.assert_close(found, wanted)


def test_prodigy_finds_its_rate_as_the_paper_says() -> None:
    gradients = [GRADIENTS[0], GRADIENTS[1], GRADIENTS[0]]
    found, optimizer = moved(
        Training(optimizer="prodigy", unet_lr=1, text_encoder_lr=1, weight_decay=0), gradients, START
    )
    x, d, r, s = START.double(), 1e-6, 0.0, torch.zeros_like(START).double()
    m, v, root = torch.zeros_like(s), torch.zeros_like(s), math.sqrt(0.999)
    for k, gradient in enumerate(g.double() for g in gradients):  # Mishchenko and Defazio 2023, algorithm 4
        rate = d * math.sqrt(1 - 0.999 ** (k + 1)) / (1 - 0.9 ** (k + 1))
        m, v = 0.9 * m + 0.1 * d * gradient, 0.999 * v + 0.001 * d * d * gradient**2
        r = root * r + (d / 1e-6) * rate * float((gradient * (START - x)).sum())
        s = root * s + (d / 1e-6) * d * gradient  # safeguarded: without the rate's warm-up
        d = max(d, r / float(s.abs().sum()))
        x = x - rate * m / (v.sqrt() + d * 1e-8)
    assert optimizer.param_groups[0]["d"] == pytest.approx(d, rel=1e-5)
    torch.testing.assert_close(found, x.float(), atol=1e-9, rtol=1e-5)


def test_adamw8bit_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match=r"pip install 'headcanon\[bnb\]'"):
        build_optimizer([layer(START)], Training(optimizer="adamw8bit"))


def test_adamw8bit_goes_on_from_its_state(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    options = Training(optimizer="adamw8bit", unet_lr=1e-3)
    start = torch.randn(64, 320, generator=torch.Generator().manual_seed(0))  # smaller ones it keeps in 32 bits
    gradients = [torch.randn(64, 320, generator=torch.Generator().manual_seed(step)) for step in range(4)]
    wanted, _ = moved(options, gradients, start)
    half = layer(start)
    before = State([half], build_optimizer([half], options), ())
    for gradient in gradients[:2]:
        half.down.grad = gradient
        before.optimizer.step()
    before.save(tmp_path / "state.safetensors", Position(0, 0, (), {}, {}))
    again = layer(start)
    after = State([again], build_optimizer([again], options), ())
    after.restore(tmp_path / "state.safetensors")
    for gradient in gradients[2:]:
        again.down.grad = gradient
        after.optimizer.step()
    assert torch.equal(again.down, wanted)
    assert after.optimizer.state[again.down]["state1"].dtype == torch.uint8


def test_every_part_and_block_has_its_own_rate() -> None:
    layers = [layer(START, 1.0), layer(START, 0.5), layer(START, 1.0, "text_encoder")]
    optimizer = build_optimizer(layers, Training(unet_lr=1e-3, text_encoder_lr=1e-4))
    assert [group["base_lr"] for group in optimizer.param_groups] == [1e-3, 5e-4, 1e-4]
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1, 1]


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize(
    ("ours", "theirs", "more"),
    [
        ("constant", "constant_with_warmup", {}),
        ("linear", "linear", {}),
        ("cosine", "cosine", {}),
        ("cosine_with_restarts", "cosine_with_restarts", {"num_cycles": 3}),
    ],
)
def test_the_rates_follow_transformers_schedules(ours: Any, theirs: str, more: dict[str, int], warmup: int) -> None:
    options = Training(scheduler=ours, restarts=more.get("num_cycles", 1), warmup_steps=warmup)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(theirs, optimizer, warmup, 23, scheduler_specific_kwargs=more)
    for step in range(24):
        assert rate_factor(step, 23, options) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_rates_that_do_not_fit_the_optimizer_are_remarked_on() -> None:
    prodigy = Training(optimizer="prodigy", unet_lr=1e-4, text_encoder_lr=1e-4)
    assert len(rate_remarks(prodigy)) == 2
    assert "set it to 1" in rate_remarks(prodigy)[0]
    assert rate_remarks(prodigy.model_copy(update={"unet_lr": 1.0, "text_encoder_lr": 0.0})) == ()
    (high,) = rate_remarks(Training(unet_lr=1.0))
    assert high.startswith("unet_lr = 1 with optimizer = 'adamw'")
    (lion,) = rate_remarks(Training(optimizer="lion", unet_lr=1e-3))
    assert "a third to a tenth" in lion
    assert rate_remarks(Training()) == rate_remarks(Training(optimizer="lion", unet_lr=3e-5)) == ()


def test_prodigy_with_two_rates_is_refused() -> None:
    with pytest.raises(ValidationError, match="one rate for everything"):
        Training(optimizer="prodigy")
    with pytest.raises(ValidationError, match="block_lr"):
        Training.model_validate(
            {"optimizer": "prodigy", "unet_lr": 1, "text_encoder_lr": 1, "network": {"block_lr": ["IN = 0.5"]}}
        )


def test_a_rate_that_is_a_tensor_is_set_in_place_and_steps_by_it() -> None:
    """As on a GPU, where a recorded step reads the rate from the same memory every time."""
    parameters = [torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2)]
    for parameter in parameters:
        parameter.grad = torch.tensor([0.5, 0.25])
    number, tensor = (
        torch.optim.AdamW([{"params": [parameter], "lr": rate, "base_lr": 1e-2}], fused=True)
        for parameter, rate in zip(parameters, (1e-2, torch.tensor(1e-2)), strict=True)
    )
    there = tensor.param_groups[0]["lr"]
    for optimizer in (number, tensor):
        set_rates(optimizer, 0.5)
        optimizer.step()
    assert tensor.param_groups[0]["lr"] is there
    assert there.item() == pytest.approx(5e-3)
    torch.testing.assert_close(parameters[1], parameters[0])


def test_a_class_by_its_path_is_told_its_arguments_and_steps_as_its_package_does() -> None:
    more = ("betas=.8,0.9", "decoupled_weight_decay = true")
    options = Training(optimizer="torch.optim.RAdam", unet_lr=0.01, weight_decay=0.1, optimizer_args=more)
    found, _ = moved(options, GRADIENTS, START)
    wanted = nn.Parameter(START.clone())
    theirs = torch.optim.RAdam([wanted], lr=0.01, weight_decay=0.1, betas=(0.8, 0.9), decoupled_weight_decay=True)
    for gradient in GRADIENTS:
        wanted.grad = gradient.clone()
        theirs.step()
    torch.testing.assert_close(found, wanted.detach())
    assert optimizer_name(options) == "torch.optim.RAdam"


def test_a_class_that_takes_no_weight_decay_is_not_told_one() -> None:
    assert optimizer_settings(Training(optimizer="torch.optim.Rprop")) == {}
    assert optimizer_settings(Training(optimizer="adamw", optimizer_args=("eps=1e-6",))) == {
        "weight_decay": 0.01, "eps": 1e-6,
    }  # fmt: skip


def test_a_class_by_its_path_goes_on_from_its_state(tmp_path: Path) -> None:
    options = Training(optimizer="torch.optim.RAdam", unet_lr=0.01)
    through, _ = moved(options, GRADIENTS * 4, START)
    half = layer(START)
    before = State([half], build_optimizer([half], options), ())
    for gradient in GRADIENTS * 2:
        half.down.grad = gradient.clone()
        before.optimizer.step()
    before.save(tmp_path / "state", Position(0, 0, (), {}, {}))
    again = layer(torch.zeros_like(START))
    after = State([again], build_optimizer([again], options), ())
    after.restore(tmp_path / "state")
    for gradient in GRADIENTS * 2:
        again.down.grad = gradient.clone()
        after.optimizer.step()
    assert torch.equal(again.down.detach(), through)


@pytest.mark.parametrize(
    ("path", "arguments", "why"),
    [
        ("no_such_package.Lion9", (), "there is no such class"),
        ("torch.optim.NoSuch", (), "there is no such class"),
        ("torch.nn.Linear", (), r"is no torch\.optim\.Optimizer"),
        ("torch.optim.LBFGS", (), "computes the loss itself"),
        ("torch.optim.RAdam", ("momentum=0.9",), "does not take"),
        ("torch.optim.RAdam", ("eps=-1.0",), "Invalid epsilon"),
    ],
)
def test_a_class_that_cannot_be_used_is_refused_in_a_line(path: str, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(RecipeError, match=why) as told:
        build_optimizer([layer(START)], Training(optimizer=path, optimizer_args=arguments))
    assert "\n" not in str(told.value)


def test_a_name_that_is_none_and_rates_among_the_arguments_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"'adam' is no optimizer; use adamw, .*, or a class by its path"):
        Training(optimizer="adam")
    with pytest.raises(ValidationError, match="optimizer_args: lr is not given here"):
        Training(optimizer_args=("lr=0.1",))
    for text in ("momentum", "=0.9", "a b=1", "eps=__import__('os')", "name=word"):
        with pytest.raises(ValidationError, match="is no argument; write NAME=VALUE"):
            Training(optimizer_args=(text,))


def test_no_arguments_leave_the_key_of_a_training_as_it_is() -> None:
    assert "optimizer_args" not in Training().model_dump()
    assert Training(optimizer_args=("eps=1e-6",)).model_dump()["optimizer_args"] == ("eps=1e-6",)


def test_a_form_offers_the_names_alone() -> None:
    schema = Training.model_json_schema()["properties"]["optimizer"]
    assert schema["enum"] == ["adamw", "adamw8bit", "lion", "prodigy", "adafactor"]
