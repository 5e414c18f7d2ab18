"""Training steps of several ways on the same work, interleaved in one process; and what this machine gives at most."""

import gc
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lora_core.device import pick_device, pick_dtype, set_kernels, size_bytes
from lora_core.diffusion.components import Components
from lora_core.recipe import Speed
from lora_core.training.memory import memory_of
from measure.models import make
from measure.runner import Emit, Settings, noted
from measure.ways import Run, Work, counted_flops, matrix_peak, ours, plain, sharing, wait

PLAIN, OURS, PEFT = "diffusers + peft", "ours", "ours, LoRA not folded"
GRAPHS, COMPILED, BOTH = "ours, CUDA graphs", "ours, compiled", "ours, compiled and CUDA graphs"
SPEEDS = {
    OURS: Speed(), PEFT: Speed(), GRAPHS: Speed(cuda_graphs="auto"), COMPILED: Speed(compile="on"),
    BOTH: Speed(compile="on", cuda_graphs="auto"),
}  # fmt: skip
WARM_UP = 6
"""Steps before the clock starts: three as they are, one recorded, two replayed."""
_ROUNDS = 7


@dataclass
class Way:
    """One way to train, ready to run, and its seconds a step in each round.

    Attributes:
        name: of the table.
        run: its steps.
        row: what is known of it already.
        step: the next step's number.
        seconds: mean of a step, a round each.
    """

    name: str
    run: Run
    row: dict[str, Any]
    step: int = 0
    seconds: list[float] = field(default_factory=list)

    def timed(self, device: torch.device, steps: int) -> float:
        """Seconds of so many further steps; the device is waited for on both sides."""
        wait(device)
        begun = time.perf_counter()
        self.run(self.step, steps)
        wait(device)
        self.step += steps
        return time.perf_counter() - begun


def machine(settings: Settings, emit: Emit) -> None:
    """Which machine this is, and the peak of its matrix product in each number format, measured."""
    device = pick_device(settings.device)
    row: dict[str, Any] = {"device": "CPU", "processor": platform.machine(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        told = torch.cuda.get_device_properties(device)
        row |= {"device": told.name, "memory_gb": told.total_memory / 1e9, "capability": f"{told.major}.{told.minor}"}
    emit(row | {"torch": torch.__version__, "cuda": str(torch.version.cuda), "cudnn": torch.backends.cudnn.version()})
    set_kernels(device, deterministic=False)
    for dtype in (torch.bfloat16, torch.float32) if device.type == "cuda" else (torch.float32,):
        emit({"matrix_peak_tflops": _peak(settings, device, dtype) / 1e12, "dtype": str(dtype)})


def _peak(settings: Settings, device: torch.device, dtype: torch.dtype) -> float:
    return matrix_peak(device, dtype, *((256, 0.1) if settings.rehearse else (8192, 1.5)))


def steps(settings: Settings, emit: Emit, work: Work, names: tuple[str, ...]) -> None:
    """A row for each way when it stands (first step, memory) and one when all were timed.

    Ways take turns: a round is some steps of each, and every other round goes backwards, so that a clock that drifts or
    a neighbour meets all of them. Ratios are of steps of the same round; the median and the range are reported. Ours
    share one set of frozen weights; the plain loop has its own, in the layout that it would have.
    """
    device = pick_device(settings.device)
    dtype = pick_dtype("auto", device)
    set_kernels(device, deterministic=False)
    peak = _peak(settings, device, dtype)
    of = {"model": f"{work.architecture} {work.side_px}", "batch": work.batch}
    ways = list(_built(settings, emit, work, names, device, dtype, of))
    if not ways:
        return
    _time(settings, device, ways)
    flops = next((way.row["flops"] for way in ways if "flops" in way.row), 0.0)
    medians = {way.name: way.seconds for way in ways}
    for way in ways:
        middle = statistics.median(way.seconds)
        row: dict[str, Any] = {
            "way": way.name, **of, "ms_a_step": 1e3 * middle, "samples_per_second": work.batch / middle,
            "rounds": len(way.seconds), "share_of_matrix_peak": flops / middle / peak if flops else None,
        }  # fmt: skip
        for against, name in ((PLAIN, "speed_of_plain"), (PEFT, "speed_of_unfolded"), (OURS, "speed_of_ours")):
            if against in medians and against != way.name:
                row[name] = ratio(medians[against], way.seconds)
        emit(row)


def ratio(slow: list[float], fast: list[float]) -> list[float]:
    """Median, lowest and highest of how many times as fast, round by round."""
    each = [one / other for one, other in zip(slow, fast, strict=True)]
    return [statistics.median(each), min(each), max(each)]


def _time(settings: Settings, device: torch.device, ways: list[Way]) -> None:
    counts = {}
    for way in ways:
        once = way.timed(device, 1)
        seconds = settings.timed_seconds / _ROUNDS
        counts[way.name] = 1 if settings.rehearse else max(2, min(200, round(seconds / once)))
    for number in range(2 if settings.rehearse else _ROUNDS):
        for way in ways if number % 2 == 0 else reversed(ways):
            way.seconds.append(way.timed(device, counts[way.name]) / counts[way.name])


def _built(
    settings: Settings, emit: Emit, work: Work, names: tuple[str, ...], device: torch.device, dtype: torch.dtype,
    of: dict[str, Any],
) -> Iterator[Way]:  # fmt: skip
    """Every way that can be built, warmed up; its peak memory is as if it were alone."""
    base: Components | None = None
    for name in names:
        with noted(emit, way=name, **of):
            if name == PLAIN or base is None:
                model = make(work.architecture, device, dtype, toy=settings.rehearse)
                base = base if name == PLAIN else model
            model = model if name == PLAIN else sharing(base)
            weights = sum(size_bytes(each.parameters()) for each in (model.unet, model.vae, *model.text_encoders))
            estimate = memory_of(model, work.options)
            before = _allocated(device) - weights
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            way = Way(name, _run(settings, name, model, work, dtype), {})
            first = way.timed(device, 1)
            if name == PLAIN:
                way.row["flops"] = counted_flops(way.run)
            way.timed(device, 1 if settings.rehearse else WARM_UP)
            found = {"first_step_seconds": first, "estimated_gb": estimate / 1e9, "vae_gb": _gb(model.vae)}
            if device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(device) - before
                found |= {"peak_gb": peak / 1e9, "estimate_of_peak": estimate / peak}
            emit({"way": name, **of, **found})
            yield way
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _run(settings: Settings, name: str, model: Components, work: Work, dtype: torch.dtype) -> Run:
    if name == PLAIN:
        return plain(model, work, dtype)
    speed = SPEEDS[name]
    if settings.rehearse and speed.compile == "on":
        speed = speed.model_copy(update={"compile": "auto"})  # a compiler takes a minute; auto leaves the CPU alone
    return ours(model, work, dtype, speed, Path(settings.folder) / "compiled", folded=name != PEFT)


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _gb(model: torch.nn.Module) -> float:
    return size_bytes(model.parameters()) / 1e9
