"""Memory that does not hold a batch: it goes through the models in parts, and the result stays."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_step import drawn_batch, prepared
from short_training import trained

from lora_core.errors import TrainingError
from lora_core.lora.file import read_lora
from lora_core.progress import silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training import run
from lora_core.training.loop import Stepper
from lora_core.training.samples import TrainingSet


def limited(unet: torch.nn.Module, pictures: int) -> list[int]:
    """Let the U-Net run out of memory with more pictures than that; returns the sizes it was given."""
    given: list[int] = []

    def refuse(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        given.append(len(inputs[0]))
        if len(inputs[0]) > pictures:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    unet.register_forward_pre_hook(refuse)
    return given


def test_a_step_that_memory_does_not_hold_is_taken_in_parts_with_the_same_result(tiny_base: Path) -> None:
    options, batch = Training(batch=3), drawn_batch()
    outcomes, matrices, given = [], [], []
    for limit in (3, 1):
        stepper, layers, _ = prepared(tiny_base, options, "epsilon")
        given = limited(stepper._components.unet, limit)
        outcomes.append([stepper.step(batch, number) for number in range(3)])
        matrices.append([matrix.detach() for layer in layers for matrix in layer.matrices.values()])
    assert given == [3, *[1] * 9]
    for whole, parts in zip(*outcomes, strict=True):
        assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
        assert parts.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-4)
    for mine, theirs in zip(*matrices, strict=True):
        # AdamW's first steps move by the rate times a gradient's sign: where that is rounding noise, so is the sign
        assert (mine - theirs).abs().max() <= 3 * 2 * options.unet_lr
        assert (mine - theirs).abs().mean() < 0.02 * options.unet_lr


def test_parts_leave_the_gradients_of_the_whole_batch(tiny_base: Path) -> None:
    gradients = []
    for limit in (3, 2):
        stepper, _, _ = prepared(tiny_base, Training(batch=3), "epsilon")
        limited(stepper._components.unet, limit)
        stepper._gradients(stepper.placed(drawn_batch()))
        gradients.append([matrix.grad for matrix in stepper.matrices])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-3)


def test_a_whole_training_under_a_memory_limit_goes_on_from_the_step_it_happened_in(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow = options.model_copy(update={"epochs": 1, "batch": 4, "unet_lr": 1e-5, "text_encoder_lr": 1e-6})
    files, steps = [], []

    def train(word: str) -> None:
        def listen(done: int, total: int, note: str = "") -> None:
            steps.append(note)

        ref = trained(store, base, drawn_sets, slow, word, listen if word == "limited" else silent)
        files.append(read_lora(store.tree(ref.sha256)["hero.safetensors"]).modules)

    train("whole")
    whole = Stepper.__init__

    def small(self: Stepper, *args: Any, **options: Any) -> None:
        whole(self, *args, **options)
        limited(self._components.unet, 2)

    monkeypatch.setattr(Stepper, "__init__", small)
    with caplog.at_level(logging.WARNING, "lora_core"):
        train("limited")
    assert [record.message for record in caplog.records if "memory" in record.message] == [
        "memory does not hold the batch; it goes through the models 2 at a time"
    ]
    assert sum(note.startswith("loss") for note in steps) == run.plan(drawn_sets, slow).total_steps
    for name, module in files[0].items():
        torch.testing.assert_close(files[1][name].down, module.down, atol=1e-4, rtol=1e-2)


def test_a_single_picture_that_memory_does_not_hold_ends_the_training_with_advice(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Stepper.__init__

    def small(self: Stepper, *args: Any, **options: Any) -> None:
        whole(self, *args, **options)
        limited(self._components.unet, 0)

    monkeypatch.setattr(Stepper, "__init__", small)
    with pytest.raises(TrainingError, match="out of memory at 64 px, one picture at a time"):
        trained(store, base, drawn_sets, options)
