"""Merging LoRAs into a base model: streamed, in the base's own layout and dtype."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

from lora_core.bounded import json_of
from lora_core.digests import file_digest
from lora_core.disk import write_atomically
from lora_core.errors import CheckpointError, LoraError
from lora_core.finite import is_finite
from lora_core.hub.formats import Header, read_header
from lora_core.lora.adapter import Adapter
from lora_core.lora.adapter_file import OpenAny, open_any
from lora_core.lora.algebra import without_mid
from lora_core.lora.file import LoraModule
from lora_core.lora.keys import misfit
from lora_core.lora.places import Weight, Weights, find_weights
from lora_core.lora.rewrite import rewrite
from lora_core.lora.settle import settling
from lora_core.lora.tensors import DTYPE_NAMES, FLOATS
from lora_core.lora.terms import Term
from lora_core.progress import Progress

MERGED = "headcanon.merged"
_STALE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")
_CACHED_NUMBERS = 1 << 18

Addend = tuple[OpenAny, str, float, Weight]
"""A LoRA, its module, its strength, and the weight that they change."""


def merged_weight(weight: torch.Tensor, module: LoraModule, strength: float) -> torch.Tensor:
    """W + strength · alpha / rank · up · down, computed in float32.

    Args:
        weight: (out, in) or (out, in, kh, kw), any dtype.
        module: the LoRA's down (rank, in, …) and up (out, rank, …).
        strength: 1 for as trained.

    Returns:
        float32, of the weight's shape. The formula is sd-scripts' `merge_to_sd_model`.
    """
    module = without_mid(module.to(torch.float32))
    change = module.up.flatten(1) @ module.down.flatten(1)
    return change.mul_(strength * module.scale).reshape(weight.shape).add_(weight)


def merge_into(weight: torch.Tensor, modules: Sequence[tuple[LoraModule | Adapter, float]]) -> None:
    """Merge modules into a weight in place, one after another, rounded to its dtype once, after the last.

    Plain ones some rows at a time: what is computed in float32 then fits the processor's cache. The others are no
    sums over rows (a DoRA's lengths are of whole columns), so they are merged into the whole weight.

    Args:
        weight: (out, in) or (out, in, kh, kw).
        modules: each with its strength.
    """
    plain = [(without_mid(each.to(torch.float32)), weigh) for each, weigh in modules if isinstance(each, LoraModule)]
    if len(plain) < len(modules):
        merged = weight
        for module, strength in modules:
            merges = module.merged if isinstance(module, Adapter) else partial(merged_weight, module=module)
            merged = merges(merged, strength=strength)
        weight.copy_(merged)
        return
    step = max(1, _CACHED_NUMBERS // math.prod(weight.shape[1:]))
    for start in range(0, weight.shape[0], step):
        rows = slice(start, start + step)
        merged = weight[rows]
        for module, strength in plain:
            merged = merged_weight(merged, replace(module, up=module.up[rows]), strength)
        weight[rows] = merged


def merge_file(base_files: Mapping[str, Path], terms: Sequence[Term], out: Path, progress: Progress) -> None:
    """Merge LoRAs into a base model.

    Memory holds one tensor of the base and the LoRAs' modules for it. Equal inputs give equal bytes.

    Args:
        base_files: the base, relative name → path: one single file, or a diffusers folder's files.
        terms: the LoRAs with their weights.
        out: the file to write, or the folder to make, as the base is.
        progress: told after every tensor.

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
    with settling(out) as path:
        for name, source in base_files.items():
            target = path if len(base_files) == 1 else path / name
            if name not in headers:
                write_atomically(target, source.read_bytes())
                continue
            metadata = {key: value for key, value in headers[name].metadata.items() if key not in _STALE}
            if name in addends:
                metadata[MERGED] = json.dumps([*_earlier(metadata), *made], sort_keys=True)
            changes = {key: partial(_merge, key, found) for key, found in addends.get(name, {}).items()}
            rewrite(source, name, headers[name], target, metadata, changes, done)


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
        lora = open_any(term.path, term.name)
        if unknown := [name for name in lora.parts if name not in weights.by_name]:
            raise LoraError(misfit(lora.name, unknown, len(lora.parts), weights.architecture))
        for name in lora.parts:
            where = weights.by_name[name]
            if made_for := lora.misfit(name, where.shape):
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
        merge_into(part, [(lora.read(name), strength) for lora, name, strength, _ in found])
        if not is_finite(part):
            names = ", ".join(f"{lora.name} at weight {strength:g}" for lora, _, strength, _ in found)
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
