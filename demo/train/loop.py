"""One loop for every model of the demo: schedule, averaged weights, and a state that survives being stopped."""

import ctypes
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

LOG = logging.getLogger(__name__)

DEVICE: Final = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MORE: Final = 8 if DEVICE.type == "cuda" else 1
"""How many times larger batches are than on a CPU."""
RANKS: Final = 1 if DEVICE.type == "cuda" else 2
"""How many processes train together."""

_SAVE_EVERY_SECONDS: Final = 120
_LOG_EVERY_SECONDS: Final = 20
_WARM_UP_STEPS: Final = 150
_LAST_LR: Final = 0.03
# glibc's malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_MAX: Final = -4


@dataclass(frozen=True)
class Budget:
    """When a training ends: after so many steps or minutes, whichever comes first."""

    steps: int
    minutes: float
    lr: float
    ema: float = 0.999
    weight_decay: float = 0.01


BatchLoss = Callable[[int, float], tuple[Tensor, Mapping[str, float]]]
"""From step and share done (0..1) to the loss and figures for the log."""


def fit(name: str, work: Path, models: Mapping[str, nn.Module], loss_of: BatchLoss, budget: Budget) -> None:
    """Trains `models` in place and keeps `work/NAME.safetensors`; goes on from there when it exists.

    With several processes their gradients are averaged, and the first one keeps time, log and state.
    Batches must depend on step and rank alone, so that a resumed run sees what an unbroken one would have seen.
    """
    for module in models.values():
        module.to(DEVICE)
    weights = {
        f"{model}.{key}": p
        for model, module in models.items()
        for key, p in module.named_parameters()
        if p.requires_grad
    }
    optimizer = torch.optim.AdamW(weights.values(), lr=budget.lr, betas=(0.9, 0.99), weight_decay=budget.weight_decay)
    average = {key: p.detach().clone() for key, p in weights.items()}
    path = work / f"{name}.safetensors"
    step, spent = _load(path, weights, average, optimizer) if path.exists() else (0, 0.0)
    started = saved = logged = time.monotonic()
    figures: dict[str, float] = {}
    while (done := _agreed(max(step / budget.steps, (spent + time.monotonic() - started) / 60 / budget.minutes))) < 1:
        for group in optimizer.param_groups:
            group["lr"] = budget.lr * min(1.0, (step + 1) / _WARM_UP_STEPS) * _cosine(done)
        loss, news = loss_of(step, done)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"{name}: the loss of step {step} is {loss.item()}; lower the learning rate ({budget.lr})"
            )
        torch.autograd.backward(loss)
        _share_gradients(list(weights.values()))
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        decay = min(budget.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [p.detach() for p in weights.values()], 1 - decay)
        for key, value in {"loss": loss.item(), **news}.items():
            figures[key] = 0.98 * figures.get(key, value) + 0.02 * value
        if rank() > 0:
            continue
        now = time.monotonic()
        if now - logged > _LOG_EVERY_SECONDS:
            logged = now
            LOG.info(
                "%s step %d %.0f%% %.1f min %s",
                name,
                step,
                done * 100,
                (spent + now - started) / 60,
                {k: round(v, 4) for k, v in figures.items()},
            )
        if now - saved > _SAVE_EVERY_SECONDS:
            saved = now
            _save(path, weights, average, optimizer, step, spent + now - started)
    if rank() > 0:
        return
    _save(path, weights, average, optimizer, step, spent + time.monotonic() - started)
    LOG.info("%s done after %d steps, %.1f minutes", name, step, (spent + time.monotonic() - started) / 60)


def load_average(path: Path, models: Mapping[str, nn.Module]) -> int:
    """Puts the averaged weights of a state into `models` and returns the state's step."""
    with safe_open(str(path), "pt") as state, torch.no_grad():
        for model, module in models.items():
            for key, parameter in module.named_parameters():
                if f"average.{model}.{key}" in state.keys():  # noqa: SIM118 (not a dict)
                    parameter.copy_(state.get_tensor(f"average.{model}.{key}"))
        return int(json.loads(state.metadata()["progress"])["step"])


def half_precision() -> torch.autocast:
    """Computes in bfloat16 where that is safe."""
    return torch.autocast(DEVICE.type, torch.bfloat16)


def train_in_ranks(train: Callable[[], None]) -> None:
    """Runs `train` in every process that trains together; `train` must be picklable.

    On a CPU two processes of one thread each beat one of two: threads of one process wait for each other dozens of
    times a step.
    """
    with TemporaryDirectory() as meeting:
        spawn(_join, (f"{meeting}/meet", train), nprocs=RANKS)  # type: ignore[no-untyped-call]


def _join(place: int, meeting: str, train: Callable[[], None]) -> None:
    prepare_process(threads=1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=place, world_size=RANKS)
    train()
    dist.destroy_process_group()


def rank() -> int:
    """Returns this process's number among those that train together; 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def prepare_process(threads: int) -> None:
    """Sets threads and log, and tells glibc to keep freed blocks.

    Without the latter every activation is mapped and zeroed anew, which took most of the autoencoder's time.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 2**28)


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes beside `path` and renames last, so that the name's presence means a whole file."""
    temporary = path.with_name(f"partial-{path.name}")
    write(temporary)
    temporary.replace(path)


def _agreed(done: float) -> float:
    """Returns the first process's share done, so that all stop together."""
    if not dist.is_initialized():
        return done
    told = torch.tensor([done], dtype=torch.float64)
    dist.broadcast(told, 0)
    return float(told)


def _share_gradients(parameters: Sequence[Tensor]) -> None:
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _cosine(done: float) -> float:
    return _LAST_LR + (1 - _LAST_LR) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _save(
    path: Path,
    weights: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    tensors = {f"weight.{key}": p.detach() for key, p in weights.items()}
    tensors |= {f"average.{key}": p for key, p in average.items()}
    for key, p in weights.items():
        tensors |= {f"{slot}.{key}": optimizer.state[p][slot] for slot in ("exp_avg", "exp_avg_sq")}
    progress = json.dumps({"step": step, "seconds": seconds})
    # Copies: safetensors refuses memory that two names share or that is laid out channels-last.
    owned = {key: value.to("cpu", copy=True, memory_format=torch.contiguous_format) for key, value in tensors.items()}
    replace_file(path, lambda temporary: save_file(owned, str(temporary), metadata={"progress": progress}))


def _load(
    path: Path, weights: Mapping[str, Tensor], average: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    with safe_open(str(path), "pt") as state, torch.no_grad():
        progress = json.loads(state.metadata()["progress"])
        for key, p in weights.items():
            p.copy_(state.get_tensor(f"weight.{key}"))
            average[key].copy_(state.get_tensor(f"average.{key}"))
            slots = {
                slot: torch.empty_like(p).copy_(state.get_tensor(f"{slot}.{key}")) for slot in ("exp_avg", "exp_avg_sq")
            }
            optimizer.state[p] = {"step": torch.tensor(float(progress["step"])), **slots}
    return int(progress["step"]), float(progress["seconds"])
