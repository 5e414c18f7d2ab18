"""Recording, compiling, and the decision between them."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_graphs import FakeGraphs

from lora_core.diffusion import engine as engines
from lora_core.diffusion.engine import PAYS, TIMED, Engine, pays
from lora_core.diffusion.recorder import WARM_UP, Recorder
from lora_core.recipe import Speed

Tensors = Sequence[torch.Tensor]


def doubled(inputs: Tensors) -> torch.Tensor:
    return inputs[0] * 2 + inputs[1]


def numbered(number: int, size: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((size,), float(number)), torch.arange(size) / 7


def test_replays_give_every_call_its_own_output() -> None:
    fake = FakeGraphs(lambda inputs: inputs[0].shape)
    recorder = Recorder(fake)
    outputs = [recorder("key", doubled, numbered(number)) for number in range(10)]
    for number, output in enumerate(outputs):
        assert torch.equal(output, doubled(numbered(number)))
    assert (fake.aside_calls, fake.recorded, fake.replays) == (WARM_UP, 1, 10 - WARM_UP)


def test_every_key_is_recorded_once_and_what_is_forgotten_anew() -> None:
    fake = FakeGraphs(lambda inputs: inputs[0].shape)
    recorder = Recorder(fake)
    for number in range(8):
        for size in (2, 3):
            given = numbered(number, size)
            assert torch.equal(recorder(size, doubled, given), doubled(given))
    assert fake.recorded == 2
    recorder.forget()
    for number in range(WARM_UP + 1):
        recorder(2, doubled, numbered(number, 2))
    assert (fake.recorded, fake.aside_calls) == (3, 3 * WARM_UP)


def test_what_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeGraphs):
        def record(self, function: Any, inputs: Tensors) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    recorder = Recorder(Broken(lambda inputs: ()))
    with caplog.at_level(logging.WARNING, "lora_core"):
        outputs = [recorder("key", doubled, numbered(number)) for number in range(8)]
    assert [record.message for record in caplog.records] == [
        "CUDA graphs are off: recording a step failed (operation not permitted when stream is capturing)"
    ]
    assert all(torch.equal(output, doubled(numbered(number))) for number, output in enumerate(outputs))


@pytest.mark.parametrize(("left", "seconds", "cost", "wanted"), [(100, 1.0, 25.0, True), (99, 1.0, 25.0, False)])
def test_compiling_pays_when_what_is_left_takes_four_times_as_long(
    left: int, seconds: float, cost: float, wanted: bool
) -> None:
    assert PAYS == 4
    assert pays(left, seconds, cost) == wanted


class Doubling(torch.nn.Module):
    """In the U-Net's place."""

    device = torch.device("cpu")

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.silu(given * 2).sum(dim=-1)


def call(unet: Any, inputs: Tensors) -> torch.Tensor:
    found: torch.Tensor = unet(inputs[0])
    return found


class Clock:
    """An engine's clock that goes on by so many seconds with every call of the U-Net."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, unet: Doubling, seconds: float) -> None:
        self._now = 0.0
        monkeypatch.setattr(Engine, "_now", lambda engine: self._now)
        unet.register_forward_hook(lambda *_: setattr(self, "_now", self._now + seconds))


@pytest.fixture
def deciding(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, Path], tuple[Engine, list[int]]]:
    """An engine that decides as on a GPU where a call takes so long, and the calls that were compiled."""

    def made(seconds: float, cache: Path) -> tuple[Engine, list[int]]:
        unet, compiled = Doubling(), list[int]()
        Clock(monkeypatch, unet, seconds)
        engine = Engine(unet, Speed(compile="auto"), cache=cache, what="test", blocker="none")  # type: ignore[arg-type]
        engine._compile = "auto"

        def counted(given: torch.Tensor) -> torch.Tensor:
            compiled.append(1)
            return unet(given)  # type: ignore[no-any-return]

        monkeypatch.setattr(engine, "_compiled", lambda: counted)
        return engine, compiled

    return made


def run(engine: Engine, calls: int, expected: int) -> None:
    for _ in range(calls):
        engine(call, [torch.ones(2, 3)], expected)


def test_auto_times_ten_calls_and_compiles_what_has_long_to_go_and_says_why(
    deciding: Callable[[float, Path], tuple[Engine, list[int]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "lora_core"):
        engine, compiled = deciding(1.0, tmp_path)
        run(engine, TIMED.stop + 3, expected=TIMED.stop + 239)  # 240 calls of 1 s left: four times a minute
    assert len(compiled) == 4
    assert [record.message for record in caplog.records] == [
        "test at 2×3: compiled: what is left, 240 at 1000.0 ms, takes 240 s, compiling about 60 s"
    ]


def test_auto_does_not_compile_what_is_over_sooner(
    deciding: Callable[[float, Path], tuple[Engine, list[int]]], tmp_path: Path
) -> None:
    engine, compiled = deciding(1.0, tmp_path)
    run(engine, TIMED.stop + 3, expected=TIMED.stop + 238)
    assert not compiled


def test_what_compiling_took_is_kept_for_the_next_decision(
    deciding: Callable[[float, Path], tuple[Engine, list[int]]], tmp_path: Path
) -> None:
    for last in (17.0, 5.0):  # first with nothing known, then with kernels kept
        engine, compiled = deciding(last, tmp_path)
        run(engine, TIMED.stop, expected=10_000)
        assert compiled
    (seconds,) = json.loads((tmp_path / "seconds.json").read_bytes()).values()
    assert seconds == [17.0, 5.0]
    engine, _ = deciding(1.0, tmp_path)
    assert engine._cost((((2, 3), torch.float32),)) == pytest.approx(5.0)
    (tmp_path / "seconds.json").write_text("rubbish")
    assert engine._cost((((2, 3), torch.float32),)) == pytest.approx(60.0)


def test_what_no_gpu_has_measured_is_off_unless_a_recipe_asks_for_it() -> None:
    assert (Speed().compile, Speed().cuda_graphs, Speed().deterministic) == ("off", "off", False)


def test_on_the_cpu_auto_compiles_and_records_nothing() -> None:
    engine = Engine(Doubling(), Speed(compile="auto", cuda_graphs="auto"), cache=None, what="test")  # type: ignore[arg-type]
    run(engine, 2 * TIMED.stop, expected=10**9)
    assert engine._compiled_unet is None
    assert engine.recorder is None


def test_determinism_goes_before_compiling() -> None:
    speed = Speed(compile="on", deterministic=True)
    engine = Engine(Doubling(), speed, cache=None, what="test")  # type: ignore[arg-type]
    run(engine, 2, expected=0)
    assert engine._compiled_unet is None


def test_a_compiler_that_fails_is_told_of_and_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("Failed to find C compiler")

    engine = Engine(Doubling(), Speed(compile="on"), cache=None, what="test")  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "_compiled", lambda: broken)
    with caplog.at_level(logging.WARNING, "lora_core"):
        output = engine(call, [torch.ones(2, 3)], 1)
        engine(call, [torch.ones(4, 3)], 1)
    assert torch.equal(output, Doubling()(torch.ones(2, 3)))
    assert [record.message for record in caplog.records] == [
        "test: not compiled, for it failed: Failed to find C compiler"
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_calls_say_the_same_and_keep_their_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    plain = Doubling()
    engine = Engine(Doubling(), Speed(compile="on"), cache=tmp_path, what="test")  # type: ignore[arg-type]
    given = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(engine(call, [given], 1), plain(given))
    assert engine._compiled_unet is not None
    assert engines._COSTS_FILE in {path.name for path in tmp_path.iterdir()}
    torch._dynamo.reset()
