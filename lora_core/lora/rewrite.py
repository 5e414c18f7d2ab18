"""Copying a checkpoint's file while some of its tensors are changed. Memory holds one tensor; the file is mapped."""

import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import BinaryIO

import torch

from lora_core.errors import CheckpointError
from lora_core.finite import is_finite, not_finite
from lora_core.hub.formats import Header, TensorInfo
from lora_core.hub.layout import EMA_PREFIX
from lora_core.hub.stream import write_safetensors
from lora_core.lora.tensors import FLOATS

_PIECE_BYTES = 4 << 20
_AHEAD_BYTES = 128 << 20

Change = Callable[[torch.Tensor], None]
"""Changes a tensor in place."""


def rewrite(
    source: Path, name: str, header: Header, out: Path, metadata: Mapping[str, str],
    changes: Mapping[str, Change], done: Callable[[str], None],
) -> None:  # fmt: skip
    """Write a copy of a safetensors file.

    Args:
        source: the file.
        name: what the user calls it.
        header: of the file.
        out: the copy.
        metadata: of the copy.
        changes: key → what is done to that tensor, which is one of floats.
        done: told after every tensor.

    Raises:
        CheckpointError: a number is not finite; only the averaged weights, which nothing reads, may be so.
        StoreError: the disk is full or not writable.
    """
    largest = max((header.tensors[key].end - header.tensors[key].start for key in changes), default=0)
    rooms = cycle([memoryview(bytearray(largest)) for _ in range(2)])  # one is written while the other is made

    def data(file: BinaryIO) -> Iterator[memoryview]:
        mapped = _map(file)[header.data_start :]
        _read_soon(file, 0, header.data_start + _AHEAD_BYTES)
        for key, info in header.tensors.items():
            _read_soon(file, header.data_start + info.start + _AHEAD_BYTES, info.end - info.start)
            raw = mapped[info.start : info.end]
            if key in changes:
                room = next(rooms)[: len(raw)]
                torch.frombuffer(room, dtype=torch.uint8).copy_(torch.frombuffer(raw, dtype=torch.uint8))
                _check(room, info, name, key)
                changes[key](torch.frombuffer(room, dtype=FLOATS[info.dtype]).reshape(info.shape))
                yield room
            else:
                for start in range(0, len(raw), _PIECE_BYTES):
                    piece = raw[start : start + _PIECE_BYTES]
                    _check(piece, info, name, key)
                    yield piece
            done(key)

    with source.open("rb") as file:
        write_safetensors(out, header.tensors, metadata, data(file))


def _map(file: BinaryIO) -> memoryview:
    """A file's bytes, whose pages come and go as they are needed. What is written there never reaches the file."""
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_SEQUENTIAL"):  # not on Windows
        mapped.madvise(mmap.MADV_SEQUENTIAL)
    return memoryview(mapped)


def _read_soon(file: BinaryIO, start: int, size: int) -> None:
    """Let the disk begin to read what will be needed; where that cannot be asked for, it is read when it is needed."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), start, size, os.POSIX_FADV_WILLNEED)


def _check(data: memoryview, info: TensorInfo, name: str, key: str) -> None:
    """Refuse numbers that are not finite.

    Raises:
        CheckpointError: there are some.
    """
    read = info.dtype in FLOATS and not key.startswith(EMA_PREFIX)
    if read and not is_finite(torch.frombuffer(data, dtype=FLOATS[info.dtype])):
        raise CheckpointError(not_finite(name, key))
