"""What has to hold on a GPU before its speed counts: the same losses, samples and bytes; memory that runs out."""

import contextlib
import gc
import hashlib
import importlib.util
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from demo.project import MODELS
from lora_core.device import pick_device, pick_dtype, set_kernels
from lora_core.diffusion.components import Components, load_components
from lora_core.hub import find_model_files
from lora_core.progress import silent
from lora_core.recipe import Speed, Training
from lora_core.refs import CheckpointRef, ReportRef
from lora_core.sampling.samples import NO_LORA, load_samples
from lora_core.store import Store
from lora_core.training.run import TrainingSet, train
from measure import graph
from measure.models import make, written
from measure.recipe import drawn_set
from measure.runner import Emit, Settings, noted
from measure.steps import ratio
from measure.ways import Work, ours, sharing, trainer, wait

BOUNDS = {"float32": 5e-3, "bfloat16": 2**-7}
"""Relative: TF32 has 10 bits of mantissa, bfloat16 has 8, and a loss is a mean over thousands of numbers."""
ALIKE = 0.5
"""Samples of two LoRAs are alike if they differ by less than this share of what the LoRA changes in the base's."""


def smoke(settings: Settings, emit: Emit) -> None:
    """The demo's whole graph on this device and on the CPU; the step's losses, the LoRAs' losses and samples beside."""
    device = pick_device(settings.device)
    with noted(emit, check="losses of a step"):
        _parity(settings, emit, device)
    scale = graph.TOY if settings.rehearse else graph.USUAL
    has_tagger = importlib.util.find_spec("onnxruntime") is not None
    project = graph.prepared(settings.folder / "smoke", scale, has_tagger=has_tagger)
    # On the CPU itself bfloat16 stands for the GPU: it computes otherwise, too.
    precision = "auto" if device.type == "cuda" else "bf16"
    begun = time.perf_counter()
    fast = graph.run(project, device.type, Speed(), precision)
    emit({"check": "whole graph", "on": device.type, "precision": precision, "passed": True,
          "seconds": time.perf_counter() - begun, "choice": fast.choice or "onnxruntime is missing"})  # fmt: skip
    exact = graph.run(project, "cpu", Speed(), "fp32")
    apart = max(abs(one / other - 1) for one, other in zip(fast.losses, exact.losses, strict=True))
    emit({"check": "LoRA's losses against the CPU's", "largest_relative_difference": apart,
          "bound": BOUNDS["bfloat16"], "passed": apart <= BOUNDS["bfloat16"]})  # fmt: skip
    mine, theirs = (_pictures(project.store, graph.draw(project, one.lora, "cpu", Speed())) for one in (fast, exact))
    last = max(mine, key=lambda column: -1 if column == NO_LORA else int(column))
    between, by_lora = _distance(mine[last], theirs[last]), _distance(theirs[last], theirs[NO_LORA])
    emit({"check": "samples of both LoRAs, drawn on the CPU", "they_differ_by": between, "the_lora_changes": by_lora,
          "bound": ALIKE, "passed": between <= ALIKE * by_lora})  # fmt: skip
    drawn = _pictures(project.store, graph.draw(project, exact.lora, device.type, Speed()))
    between = _distance(drawn[last], theirs[last])
    emit({"check": "one LoRA, drawn here and on the CPU", "they_differ_by": between, "the_lora_changes": by_lora,
          "bound": ALIKE, "passed": between <= ALIKE * by_lora})  # fmt: skip


def _parity(settings: Settings, emit: Emit, device: torch.device) -> None:
    """Losses of the same steps of the demo's model: the plain CPU step in float32, and every way to be fast."""
    work, count = (Work("sd1", 64, 1), 2) if settings.rehearse else (Work("sd1", 128, 2), 10)

    def losses(where: torch.device, dtype: torch.dtype, speed: Speed, *, folded: bool = True) -> list[float]:
        set_kernels(where, deterministic=False)
        stepper, batches = trainer(_demo(where, dtype), work, dtype, speed, folded=folded)
        return [stepper.step(batch, number).loss for number, batch in enumerate(batches(0, count))]

    expected = losses(torch.device("cpu"), torch.float32, Speed(), folded=False)
    for name, dtype, speed in (
        ("float32", torch.float32, Speed()), ("bfloat16", torch.bfloat16, Speed()),
        ("bfloat16, CUDA graphs", torch.bfloat16, Speed(cuda_graphs="auto")),
        ("bfloat16, compiled", torch.bfloat16, Speed(compile="auto" if settings.rehearse else "on")),
    ):  # fmt: skip
        with noted(emit, check="losses of a step", way=name):
            found = losses(device, dtype, speed)
            apart = max(abs(one / other - 1) for one, other in zip(found, expected, strict=True))
            bound = BOUNDS[name.split(",")[0]]
            emit({"check": "losses of a step", "way": name, "steps": count, "largest_relative_difference": apart,
                  "bound": bound, "passed": apart <= bound})  # fmt: skip


def _demo(device: torch.device, dtype: torch.dtype) -> Components:
    return load_components(find_model_files(str(MODELS / "base"), ""), device=device, dtype=dtype)


def _pictures(store: Store, ref: ReportRef) -> dict[str, list[np.ndarray[Any, Any]]]:
    """By epoch: every sample, (H, W, 3) from 0 to 1."""
    found: dict[str, list[np.ndarray[Any, Any]]] = {}
    for sample in load_samples(store, ref).samples:
        pixels = np.asarray(Image.open(io.BytesIO(store.get_bytes(sample.image))).convert("RGB"), dtype=np.float32)
        found.setdefault(sample.epoch, []).append(pixels / 255)
    return found


def _distance(some: list[np.ndarray[Any, Any]], others: list[np.ndarray[Any, Any]]) -> float:
    """Mean absolute difference of the pixels."""
    return float(np.mean([np.abs(one - other).mean() for one, other in zip(some, others, strict=True)]))


def resume(settings: Settings, emit: Emit, shapes: str) -> None:
    """With `deterministic = true` a training that was stopped ends in the same bytes; and what that costs a step."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read before cuBLAS' first use in a process
    device = pick_device(settings.device)
    store = Store(settings.folder / f"resume-{shapes}")
    base = MODELS / "base" if shapes == "demo" else written(settings, "sd1", device)
    files = find_model_files(str(base), "")
    ref, side = CheckpointRef(sha256=store.put_tree(files, how="refer")), 128 if shapes == "demo" else 512
    side = 64 if settings.rehearse else side
    sets = (TrainingSet(drawn_set(store, "hero", 4, side, ("momo", "1girl", "smile")), 2, False, "", side, "momo"),)
    options = Training(resolution=side, batch=2, epochs=2, checkpoint_minutes=1e-9, rank=8, alpha=4)

    def stop(done: int, total: int, note: str = "") -> None:
        if note.startswith("loss ") and done > total // 2:
            raise KeyboardInterrupt

    def trained(word: str, progress: Any = silent) -> str:
        key = hashlib.sha256(word.encode()).hexdigest()
        made = train(store, ref, sets, options, name="hero", clip_skip=1, device=device.type, key=key, trigger="momo",
                     progress=progress, speed=Speed(deterministic=True))  # fmt: skip
        return made.sha256

    whole = trained("whole")
    with contextlib.suppress(KeyboardInterrupt):
        trained("stopped", stop)
    emit({"check": f"stopped and resumed, {shapes}", "passed": trained("stopped") == whole})
    _cost_of_determinism(settings, emit, shapes, device)


def _cost_of_determinism(settings: Settings, emit: Emit, shapes: str, device: torch.device) -> None:
    if shapes == "demo":
        return
    dtype, work = pick_dtype("auto", device), Work("sd1", 64 if settings.rehearse else 512, 1)
    run = ours(make("sd1", device, dtype, toy=settings.rehearse), work, dtype, Speed())
    seconds: dict[bool, list[float]] = {False: [], True: []}
    count = 1 if settings.rehearse else 20
    for number in range(2 if settings.rehearse else 6):
        for exact in (False, True) if number % 2 else (True, False):
            set_kernels(device, deterministic=exact)
            run(0, 1)
            wait(device)
            begun = time.perf_counter()
            run(1, count)
            wait(device)
            seconds[exact].append((time.perf_counter() - begun) / count)
    emit({"check": "what deterministic = true costs", "ms_a_step": 1e3 * statistics.median(seconds[False]),
          "ms_deterministic": 1e3 * statistics.median(seconds[True]),
          "speed_of_default": ratio(seconds[False], seconds[True])})  # fmt: skip


def out_of_memory(settings: Settings, emit: Emit) -> None:
    """Memory that holds a part of a batch, then no picture: losses stay, the error is the trainer's, and it goes on."""
    device = pick_device(settings.device)
    dtype, work = pick_dtype("auto", device), Work("sd1", 64 if settings.rehearse else 512, 4)
    set_kernels(device, deterministic=False)
    base = make("sd1", device, dtype, toy=settings.rehearse)
    whole, memory = _whole_batch(sharing(base), work, dtype, device)
    model = sharing(base)
    stepper, batches = trainer(model, work, dtype, Speed())
    with _limited(model.unet, memory, device) as limit:
        limit(2.5)
        parts = [stepper.launch(batch, number).figures.tolist() for number, batch in enumerate(batches(0, 2))]
        apart = max(abs(one[0] / other[0] - 1) for one, other in zip(parts, whole, strict=True))
        emit({"check": "memory for a part of the batch", "parts_of": stepper.part_size, "bound": BOUNDS["bfloat16"],
              "largest_relative_difference": apart,
              "passed": stepper.part_size < work.batch and apart <= BOUNDS["bfloat16"]})  # fmt: skip
        limit(0.3)
        refused = ""
        try:
            stepper.launch(next(batches(2, 1)), 2)
        except torch.OutOfMemoryError as error:
            refused = str(error).splitlines()[0][:120]
        emit({"check": "memory for no picture", "refused": refused, "passed": bool(refused)})
        limit(99.0)
        loss = stepper.step(next(batches(2, 1)), 2).loss
        emit({"check": "the step after running out of memory", "loss": loss, "passed": True})


class _Memory(NamedTuple):
    """Bytes that are held between steps, and at most within a step of the whole batch."""

    resting: int
    peak: int


def _whole_batch(
    model: Components, work: Work, dtype: torch.dtype, device: torch.device
) -> tuple[list[list[float]], _Memory]:
    """Figures of two steps of the whole batch, and the memory they took."""
    stepper, batches = trainer(model, work, dtype, Speed())
    figures = [stepper.launch(batch, number).figures.tolist() for number, batch in enumerate(batches(0, 2))]
    if device.type != "cuda":
        return figures, _Memory(0, 0)
    return figures, _Memory(torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device))


@contextlib.contextmanager
def _limited(unet: torch.nn.Module, memory: _Memory, device: torch.device) -> Iterator[Callable[[float], None]]:
    """A function that leaves memory for so many of four pictures; on the CPU the U-Net refuses larger batches."""
    most = 99.0

    def refuse(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("out of memory, rehearsed")

    def limit(pictures: float) -> None:
        nonlocal most
        most = pictures
        if device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(device).total_memory
            wanted = memory.resting + (memory.peak - memory.resting) * pictures / 4
            torch.cuda.set_per_process_memory_fraction(min(1.0, wanted / total), device)

    hook = unet.register_forward_pre_hook(refuse) if device.type != "cuda" else None
    try:
        yield limit
    finally:
        if hook:
            hook.remove()


def suite(settings: Settings, emit: Emit) -> None:
    """The tests that wait for a GPU, where pytest and what the suite imports are installed."""
    missing = [name for name in ("pytest", "hypothesis", "prefect") if importlib.util.find_spec(name) is None]
    if missing:
        return emit({"check": "tests that need CUDA", "skipped": f"{', '.join(missing)} not installed"})
    if settings.rehearse:
        return emit({"check": "tests that need CUDA", "skipped": "a rehearsal"})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/training/test_speed.py"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = (done.stdout.strip().splitlines() or [done.stderr[-300:]])[-1]
    emit({"check": "tests that need CUDA", "passed": done.returncode == 0, "said": last, "failed": failed[:10]})
