"""Merging LoRAs into a base model: streamed, in the base's own layout and dtype."""

import contextlib
import json
import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any, BinaryIO

import torch

from lora_core.bounded import json_of
from lora_core.errors import CheckpointError, LoraError
from lora_core.finite_check import is_finite, not_finite
from lora_core.hub.detect import EMA_PREFIX
from lora_core.hub.find import plain_name
from lora_core.hub.formats import Header, TensorInfo, read_header, write_safetensors
from lora_core.lora.checkpoint import Weight, Weights, find_weights
from lora_core.lora.combine import Term
from lora_core.lora.file import OpenLora, open_lora
from lora_core.lora.module import LoraModule, without_mid
from lora_core.lora.naming import misfit
from lora_core.lora.tensor_files import DTYPE_NAMES, FLOATS, new_output
from lora_core.progress import Progress
from lora_core.store.digests import file_digest
from lora_core.store.files import write_atomically

MERGED = "headcanon.merged"
_STALE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")
_CACHED_NUMBERS = 1 << 18
_PIECE_BYTES = 4 << 20
_AHEAD_BYTES = 128 << 20

Change = Callable[[torch.Tensor], None]
"""Changes a tensor in place."""
Addend = tuple[OpenLora, str, float, Weight]
"""A LoRA, its module, its weight in the sum, and the base's weight that they change."""


def merge_into(weight: torch.Tensor, modules: Sequence[tuple[LoraModule, float]]) -> None:
    """Merge modules into a weight in place, one after another, rounded to its dtype once, after the last.

    Plain ones some rows at a time: what is computed in float32 then fits the processor's cache. The others are no
    sums over rows (a DoRA's lengths are of whole columns), so they are merged into the whole weight.

    Args:
        weight: (out, in) or (out, in, kh, kw).
        modules: each with its weight in the sum.
    """
    if all(module.is_plain for module, _ in modules):
        plain = [(without_mid(module.to(torch.float32)), factor) for module, factor in modules]
        step = max(1, _CACHED_NUMBERS // math.prod(weight.shape[1:]))
        for rows in (slice(start, start + step) for start in range(0, weight.shape[0], step)):
            weight[rows] = _merged(weight[rows], [(module.rows(rows), factor) for module, factor in plain])
    else:
        weight.copy_(_merged(weight, modules))


def _merged(weight: torch.Tensor, modules: Sequence[tuple[LoraModule, float]]) -> torch.Tensor:
    for module, factor in modules:
        weight = module.merged(weight, factor)
    return weight


def merge_file(base_files: Mapping[str, Path], terms: Sequence[Term], out: Path, progress: Progress) -> None:
    """Merge LoRAs into a base model.

    Memory holds one tensor of the base and the LoRAs' modules for it. Equal inputs give equal bytes.

    Args:
        base_files: the base, relative name → path: one single file, or a diffusers folder's files.
        terms: the LoRAs with their weights.
        out: the file to write, or the folder to make, as the base is.
        progress: called after every tensor.

    Raises:
        LoraError: a LoRA is not readable, or not every one of its modules fits the base.
        CheckpointError: the base is not readable, its weights are quantized or not finite.
        OutputExistsError: `out` is there with other bytes.
        StoreError: the disk is full or not writable.
    """
    headers = {
        name: read_header(path, name)
        for name, path in base_files.items()
        if name.endswith(".safetensors") or len(base_files) == 1
    }
    addends = _addends(terms, headers, find_weights(headers, base_files))
    made = [{"lora_sha256": file_digest(term.path), "weight": term.weight} for term in terms]
    done = _counter(sum(len(header.tensors) for header in headers.values()), progress)
    with new_output(out) as path:
        for name, source in base_files.items():
            target = path if len(base_files) == 1 else path / name
            if name not in headers:
                write_atomically(target, _fitting(name, source.read_bytes(), base_files))
                continue
            metadata = {key: value for key, value in headers[name].metadata.items() if key not in _STALE}
            if name in addends:
                metadata[MERGED] = json.dumps([*_earlier(metadata), *made], sort_keys=True)
            changes = {key: partial(_merge, key, found) for key, found in addends.get(name, {}).items()}
            _rewrite(source, name, headers[name], target, metadata, changes, done)


def _fitting(name: str, data: bytes, files: Mapping[str, Path]) -> bytes:
    """A folder's small file, as it is right beside these files: the index of parts, of shards, or anything else."""
    if name == "model_index.json":
        return _present_parts(data, files)
    if name.endswith(".index.json"):
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            index = json_of(data)
            shards = {key: plain_name(shard) for key, shard in index["weight_map"].items()}
            return json.dumps({**index, "weight_map": shards}, indent=2).encode()
    return data


def _present_parts(index: bytes, files: Mapping[str, Path]) -> bytes:
    """A folder's model_index.json with null for every part that is not among its files, such as a safety checker."""
    try:
        parts = json_of(index)
    except ValueError:
        return index
    here = {name.partition("/")[0] for name in files}
    absent = (
        [n for n, kind in parts.items() if isinstance(kind, list) and n not in here] if isinstance(parts, dict) else []
    )
    if not absent:
        return index
    return json.dumps({**parts, **{name: [None, None] for name in absent}}, indent=2).encode()


def _addends(
    terms: Sequence[Term], headers: Mapping[str, Header], weights: Weights
) -> dict[str, dict[str, list[Addend]]]:
    """What is added, by file and tensor.

    Raises:
        LoraError: a module matches nothing, or a shape does not fit.
        CheckpointError: a weight that would be changed is quantized.
    """
    found: dict[str, dict[str, list[Addend]]] = {}
    for term in terms:
        lora = open_lora(term.path, term.name)
        if unknown := [name for name in lora.modules if name not in weights.by_name]:
            raise LoraError(misfit(lora.name, unknown, len(lora.modules), weights.architecture))
        for name, module in lora.modules.items():
            where = weights.by_name[name]
            if made_for := module.misfit(where.shape):
                raise LoraError(
                    f"{lora.name}: {name} is made for a weight of {made_for}, the base's has "
                    f"{_sides(where.shape)}; the LoRA is for another architecture than this base "
                    f"({weights.architecture}); nothing was merged"
                )
            dtype = headers[where.file].tensors[where.place.key].dtype
            if dtype not in FLOATS:
                raise CheckpointError(
                    f"{where.file}: {where.place.key} is stored as {dtype}, too coarse to merge into; use the base's "
                    "fp16, bf16 or fp32 file"
                )
            addends = found.setdefault(where.file, {}).setdefault(where.place.key, [])
            addends.append((lora, name, term.weight, where))
    return found


def _merge(key: str, addends: Sequence[Addend], tensor: torch.Tensor) -> None:
    """Merge into a tensor of the file, in which a weight may be a third.

    Raises:
        LoraError: a LoRA's numbers are not finite, or what comes out is not.
    """
    by_third: dict[int, list[Addend]] = {}
    for addend in addends:
        by_third.setdefault(addend[3].place.third or 0, []).append(addend)
    for found in by_third.values():
        part = found[0][3].place.take(tensor)
        merge_into(part, [(lora.read(name), factor) for lora, name, factor, _ in found])
        if not is_finite(part):
            names = ", ".join(f"{lora.name} at weight {factor:g}" for lora, _, factor, _ in found)
            raise LoraError(
                f"{names}: merged, {key} is not finite as {DTYPE_NAMES[tensor.dtype]}; use a smaller weight or a base "
                "in fp32"
            )


def _sides(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _counter(total: int, progress: Progress) -> Callable[[str], None]:
    numbers = count(1)
    return lambda key: progress(next(numbers), total, key)


def _earlier(metadata: Mapping[str, str]) -> list[Any]:
    """What was merged into the base before."""
    try:
        earlier = json_of(metadata.get(MERGED, "[]"))
    except ValueError:
        return []
    return earlier if isinstance(earlier, list) else [earlier]


# ── copying a file, changed ──────────────────────────────────────────────────────────────────────────────────────────


def _rewrite(
    source: Path, name: str, header: Header, out: Path, metadata: Mapping[str, str],
    changes: Mapping[str, Change], done: Callable[[str], None],
) -> None:  # fmt: skip
    """Write a copy of a safetensors file with some tensors changed. Memory holds two of them; the file is mapped.

    Args:
        source: the file.
        name: its name in messages.
        header: of the file.
        out: the copy.
        metadata: of the copy.
        changes: key → what is done to that tensor, which is one of floats.
        done: called after every tensor.

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
