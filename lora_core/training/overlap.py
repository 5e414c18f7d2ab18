"""Batches on their way to the GPU and metrics on their way back, while it works on the step between.

A GPU that has to answer after every step, or to wait for its input, stands still meanwhile.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from lora_core.training.batch import Batch
from lora_core.training.loop import Launched
from lora_core.training.samples import Sample


def prefetched(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches in order; for CUDA on the device, each copied there while the one before is trained on.

    What is in a batch was drawn on the CPU from its counters, so nothing of it depends on when that was.
    """
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: Batch | None = None
    for batch in batches:
        behind, ahead = ahead, _sent(batch, device, stream)
        if behind is not None:
            yield _arrived(behind, device, stream)
    if ahead is not None:
        yield _arrived(ahead, device, stream)


def _sent(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    """Only what is on the CPU is copied there, so the stream waits for nothing."""
    with torch.cuda.stream(stream):
        return batch.to(device)


def _arrived(batch: Batch, device: torch.device, stream: torch.cuda.Stream) -> Batch:
    here = torch.cuda.current_stream(device)
    here.wait_stream(stream)
    for each in batch.tensors:
        each.record_stream(here)
    return batch


_READ_EVERY_SECONDS = 1.0
_MOST_STEPS = 64


class Done(NamedTuple):
    """A step that is over, its samples, and its figures (`Launched.figures`)."""

    launched: Launched
    samples: Sequence[Sample]
    figures: tuple[float, float, float]

    @property
    def number(self) -> int:
        """Of the step, counted from 0."""
        return self.launched.number


class _Window:
    """Steps whose figures cross together."""

    def __init__(self, steps: Sequence[tuple[Launched, Sequence[Sample]]]) -> None:
        self.steps = steps
        figures = torch.stack([launched.figures for launched, _ in steps])
        self._event: torch.cuda.Event | None = None
        if figures.device.type == "cuda":
            pinned = torch.empty(figures.shape, dtype=figures.dtype, pin_memory=True)
            self._figures = pinned.copy_(figures, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()
        else:
            self._figures = figures

    def read(self) -> list[Done]:
        """Wait for these steps and no later ones."""
        if self._event is not None:
            self._event.synchronize()
        return [
            Done(launched, samples, (row[0], row[1], row[2]))
            for (launched, samples), row in zip(self.steps, self._figures.tolist(), strict=True)
        ]


class MetricsQueue:
    """Takes steps as they are launched and gives them back, all and in order, when their figures are there.

    On the CPU that is at once. If it `lags`, as for a GPU, figures are read in windows of about a second, each while
    the next one is computed, so that neither side waits.
    """

    def __init__(self, *, lags: bool) -> None:
        """Args: lags: whether figures are read while later steps run."""
        self._lags = lags
        self._every = 1
        self._open: list[tuple[Launched, Sequence[Sample]]] = []
        self._sent: deque[_Window] = deque()
        self._read_at = time.monotonic()

    def __len__(self) -> int:
        """Steps that were launched and not given back."""
        return len(self._open) + sum(len(window.steps) for window in self._sent)

    def add(self, launched: Launched, samples: Sequence[Sample]) -> list[Done]:
        """A step was launched; returns those that are over."""
        self._open.append((launched, samples))
        if len(self._open) < self._every:
            return []
        self._send()
        return self._read() if len(self._sent) > self._lags else []

    def flush(self) -> list[Done]:
        """All that are left; waits for them."""
        if self._open:
            self._send()
        return [done for _ in range(len(self._sent)) for done in self._read()]

    def _send(self) -> None:
        self._sent.append(_Window(self._open))
        self._open = []

    def _read(self) -> list[Done]:
        done = self._sent.popleft().read()
        if self._lags:
            now = time.monotonic()
            each = max(1e-6, (now - self._read_at) / len(done))
            self._every, self._read_at = max(1, min(_MOST_STEPS, round(_READ_EVERY_SECONDS / each))), now
        return done
