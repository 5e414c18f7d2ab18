"""Several processes that train one LoRA: each takes a share of every step's pictures, their gradients are summed.

The sum is that of one process, so the result is too, but for the last bits. Process 0 is the one that was there before;
it saves, measures and tells. The others are its children: when one side ends, however it ends, so does the other.
Signals are its business alone: Ctrl-C at a terminal reaches all, and the others have nothing to save.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

from lora_core.errors import TrainingError
from lora_core.training.batch import Batch

_PATIENCE = timedelta(minutes=30)
"""How long processes wait for each other: one may be writing an epoch's file to a slow disk."""
_ENDS_SECONDS = 10
_TCPStore: Any = getattr(dist, "TCPStore", None)  # there are builds of torch without
_LIBUV = {"use_libuv": False} if sys.platform == "win32" else {}  # PyTorch for Windows is built without it


class _PartedError(Exception):
    """Another process is gone."""


class Group:
    """One process's place among those that train together."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def share(self, batch: Batch) -> Batch:
        """This process's pictures of a step; of a small last batch, some processes have none."""
        each = -(-len(batch) // self.size)
        return batch.cut(self.rank * each, (self.rank + 1) * each)

    def add_up(self, matrices: Sequence[torch.nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
        """Sum the gradients, in place, and the losses over all processes; returns the loss.

        What got a gradient nowhere has none afterwards: optimizers leave it alone, as they do in one process.
        """
        here = torch.tensor([matrix.grad is not None for matrix in matrices], dtype=loss.dtype, device=loss.device)
        parts = [(torch.zeros_like(matrix) if matrix.grad is None else matrix.grad).flatten() for matrix in matrices]
        everything = torch.cat([loss.reshape(1), here, *parts])
        try:
            dist.all_reduce(everything)
        except RuntimeError as error:
            raise _PartedError from error
        start = 1 + len(matrices)
        for matrix, anywhere in zip(matrices, everything[1:start].tolist(), strict=True):
            gradient = everything[start : start + matrix.numel()]
            matrix.grad = gradient.view_as(matrix) if anywhere else None
            start += matrix.numel()
        return everything[0]


@contextlib.contextmanager
def process_group(size: int, follow: Callable[[Group], None], device: torch.device) -> Iterator[Group | None]:
    """Start the other processes for the length of a block; None where one process is all.

    Args:
        size: how many processes, this one included.
        follow: what each of the others does; it must be picklable.
        device: of this process; the others take the next GPUs, or the same CPU.

    Raises:
        TrainingError: another process ended.
    """
    if size == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    meeting = _TCPStore("127.0.0.1", 0, size, is_master=True, timeout=_PATIENCE, wait_for_workers=False, **_LIBUV)
    here, there = context.Pipe(duplex=False)
    others = [
        context.Process(target=_other, args=(follow, rank, size, meeting.port, device.type, there), daemon=True)
        for rank in range(1, size)
    ]
    with _signals_held_back():
        for other in others:
            other.start()
    there.close()
    patience = 0.0
    try:
        with _joined(0, size, meeting, device.type) as group:
            yield group
        patience = _ENDS_SECONDS  # all is done here, and soon there
    except _PartedError as error:
        raise TrainingError(
            f"one of the {size} processes that train together ended ({_told(here)}); the last good state is kept, the "
            "same command goes on"
        ) from error
    finally:
        for other in others:
            other.join(patience)
            other.kill()
            other.join()


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Processes that are started in the block never see the signals that end a run; `kill` still ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where they ignore Ctrl-C by themselves (`_other`)
        yield
        return
    resource_tracker.ensure_running()  # its start lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _joined(rank: int, size: int, meeting: Any, device: str) -> Iterator[Group]:
    """Take one's place among processes that meet at a store."""
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all on one machine, whatever its name resolves to
    backend = "nccl" if device == "cuda" and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=meeting, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield Group(rank, size)
    finally:
        dist.destroy_process_group()


def _end_with_parent() -> None:
    """NCCL does not notice that a process is gone; a GPU would be held until its patience ends."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _other(follow: Callable[[Group], None], rank: int, size: int, port: int, device: str, trouble: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        meeting = _TCPStore("127.0.0.1", port, size, is_master=False, timeout=_PATIENCE, **_LIBUV)
        with _joined(rank, size, meeting, device) as group:
            follow(group)
    except Exception as error:
        trouble.send(f"{type(error).__name__}: {error}")


def _told(trouble: Connection) -> str:
    """What another process said before it ended."""
    try:
        return str(trouble.recv()) if trouble.poll(_ENDS_SECONDS) else "it said nothing"
    except EOFError:
        return "it was killed"
