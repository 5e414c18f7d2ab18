"""Parity: every way to be fast gives what the plain float32 loop gives, within its precision."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_graphs import FakeGraphs
from plain_step import drawn_batch, load

from lora_core.diffusion.engine import Engine
from lora_core.diffusion.recorder import WARM_UP, Recorder
from lora_core.lora.file import read_lora
from lora_core.lora.inject import inject
from lora_core.progress import silent
from lora_core.recipe import Speed, Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store
from lora_core.training import loop
from lora_core.training.batch import Batch
from lora_core.training.loop import Stepper
from lora_core.training.optim import build_optimizer
from lora_core.training.overlap import prefetched
from lora_core.training.run import train
from lora_core.training.samples import TrainingSet

OPTIONS = Training(batch=3, unet_lr=1e-4, text_encoder_lr=2e-5)
GRAPHS = Speed(cuda_graphs="auto")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: it is about its kernels")


def losses(
    folder: Path, speed: Speed | None = None, dtype: torch.dtype = torch.float32, device: str = "cpu", steps: int = 4
) -> list[float]:
    """Of a few steps on the same batch; a fresh model."""
    components = load(folder)
    components.unet.to(device=device, memory_format=loop.memory_format(torch.device(device)))
    for model in (components.unet, *components.text_encoders):
        model.to(device, dtype)
    layers = inject(components, rank=4, alpha=2, unet=True, text_encoder=True, seed=1)
    stepper = Stepper(
        components, layers, build_optimizer(layers, OPTIONS), OPTIONS, clip_skip=1, dtype=dtype, speed=speed
    )
    found = [stepper.step(drawn_batch(), number).loss for number in range(steps)]
    assert len(set(found)) == steps, "nothing was learned"
    return found


@pytest.fixture(scope="module")
def plain(tiny_base: Path) -> list[float]:
    return losses(tiny_base)


def test_autocast_to_bfloat16_is_off_by_its_rounding_and_no_more(tiny_base: Path, plain: list[float]) -> None:
    """bfloat16 has 8 bits: a number is off by 2^-9 at most, and a loss is a mean over thousands of them."""
    assert losses(tiny_base, dtype=torch.bfloat16) == pytest.approx(plain, rel=2**-8)


def test_channels_last_is_the_same_to_float32_rounding(
    tiny_base: Path, plain: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "memory_format", lambda device: torch.channels_last)
    assert losses(tiny_base) == pytest.approx(plain, rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_the_compiled_unet_is_the_same_to_float32_rounding(tiny_base: Path, plain: list[float]) -> None:
    assert losses(tiny_base, Speed(compile="on"), steps=2) == pytest.approx(plain[:2], rel=1e-5)
    torch._dynamo.reset()


def test_a_batch_says_all_that_a_step_computes_with(tiny_base: Path) -> None:
    batch = drawn_batch()
    moved = batch.to(torch.device("cpu"))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(moved.tensors, batch.tensors, strict=True))
    zeros = batch.filled([torch.zeros_like(each) for each in batch.tensors])
    changed = {"latents", "noise", "timesteps", "weights", "sizes"}
    for name in Batch.__dataclass_fields__:
        if isinstance(value := getattr(zeros, name), torch.Tensor) and name != "prior":
            assert not value.any()
            changed.remove(name)
    assert not changed


def run(
    store: Store, base: CheckpointRef, sets: tuple[TrainingSet, ...], options: Training, word: str,
    device: str = "cpu", speed: Speed | None = None, progress: Any = silent,
) -> LoraRef:  # fmt: skip
    return train(
        store, base, sets, options, name="hero", clip_skip=1, device=device, trigger="hc_hero", progress=progress,
        key=hashlib.sha256(word.encode()).hexdigest(), speed=speed,
    )  # fmt: skip


@pytest.mark.parametrize("trained", ["text encoders too", "U-Net alone"])
def test_a_training_of_replayed_steps_makes_the_same_bytes(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
    trained: str,
) -> None:
    """Whatever a step reads that is not an input of the recording would stay as it was when it was recorded."""
    rates = {"text_encoder_lr": 0.0} if trained == "U-Net alone" else {}
    noise = {"input_perturbation": 0.1}
    chosen = Training.model_validate(
        {**options.model_dump(), **rates, "epochs": 2, "batch": 1, "masked_loss": True, "noise": noise}
    )
    expected = run(store, base, drawn_sets, chosen, "plain")
    fake = FakeGraphs(lambda inputs: (3,))

    class Recording(Engine):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.recorder = Recorder(fake)

    monkeypatch.setattr(loop, "Engine", Recording)
    assert run(store, base, drawn_sets, chosen, "replayed") == expected
    assert fake.replays > 2 * WARM_UP


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"optimizer": "lion"}, "optimizer = 'lion'"),
        ({"gradient_checkpointing": True}, "gradient_checkpointing = true"),
        ({"network": {"rank_dropout": 0.1}}, "dropout"),
        ({"prior_preservation": "teacher"}, "prior_preservation = 'teacher'"),
    ],
    ids=str,
)
def test_what_cannot_be_recorded_is_named(tiny_base: Path, changes: dict[str, Any], said: str) -> None:
    options, components = Training.model_validate(changes), load(tiny_base)
    layers = inject(components, rank=4, alpha=2, unet=True, text_encoder=True, seed=1)
    stepper = Stepper(components, layers, build_optimizer(layers, options), options, clip_skip=1, dtype=torch.float32)
    assert stepper._cuda_graph_blocker() == said


@on_a_gpu
@pytest.mark.parametrize("speed", [Speed(), GRAPHS, Speed(compile="on", cuda_graphs="auto")], ids=str)
def test_fast_steps_on_a_gpu_follow_the_plain_loop_on_the_cpu(
    tiny_base: Path, plain: list[float], speed: Speed
) -> None:
    fast = losses(tiny_base, speed, device="cuda", steps=12)
    assert fast[:4] == pytest.approx(plain, rel=5e-3)  # TF32: 10 bits
    assert fast[-1] < fast[0]


@on_a_gpu
def test_batches_sent_ahead_to_a_gpu_are_the_batches_that_were_drawn() -> None:
    batches = [drawn_batch().filled([each + number for each in drawn_batch().tensors]) for number in range(5)]
    sent = list(prefetched(iter(batches), torch.device("cuda")))
    for mine, theirs in zip(sent, batches, strict=True):
        assert all(torch.equal(here.cpu(), there) for here, there in zip(mine.tensors, theirs.tensors, strict=True))


@on_a_gpu
def test_a_deterministic_training_on_a_gpu_that_was_stopped_ends_in_the_same_bytes(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    def stop(done: int, total: int, note: str = "") -> None:
        if note.startswith("loss ") and done > total // 2:
            raise KeyboardInterrupt

    often, exact = options.model_copy(update={"checkpoint_minutes": 1e-9}), Speed(deterministic=True)
    whole = run(store, base, drawn_sets, often, "whole", "cuda", exact)
    with pytest.raises(KeyboardInterrupt):
        run(store, base, drawn_sets, often, "stopped", "cuda", exact, stop)
    assert run(store, base, drawn_sets, often, "stopped", "cuda", exact) == whole


@on_a_gpu
def test_a_fast_training_on_a_gpu_learns_what_a_deterministic_one_does(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    files = [
        read_lora(store.tree(run(store, base, drawn_sets, options, word, "cuda", speed).sha256)["hero.safetensors"])
        for word, speed in (("exact", Speed(deterministic=True)), ("fast", Speed(compile="auto", cuda_graphs="auto")))
    ]
    for name, module in files[0].modules.items():
        torch.testing.assert_close(files[1].modules[name].down, module.down, atol=0.02, rtol=0.1)
