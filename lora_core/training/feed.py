"""Batches on their way to the GPU while it works on the one before."""

from collections.abc import Iterable, Iterator

import torch

from lora_core.training.batch import Batch


def fed(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
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
