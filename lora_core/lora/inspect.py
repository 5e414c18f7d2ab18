"""What a file is: a LoRA, a checkpoint or neither, told from its header alone."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from lora_core.bounded import json_of
from lora_core.errors import CheckpointError, LoraError
from lora_core.hub import find_model_files
from lora_core.hub.formats import Header, TensorInfo, read_header
from lora_core.hub.layout import EMA_PREFIX, UNET_PREFIX, VAE_PREFIX, detect_architecture
from lora_core.lora.adapter_file import OpenAdapters, is_marked
from lora_core.lora.header import MADE, tag_frequency
from lora_core.lora.inspection import Inspection, Tag
from lora_core.lora.keys import lora_architecture
from lora_core.lora.merge import MERGED
from lora_core.lora.parts import input_widths, is_diffusers, lora_parts, other_kind
from lora_core.lora.places import find_weights
from lora_core.lora.tensors import TensorFile

_TOP_TAGS = 30
_FOLDERS = {"unet": "U-Net", "text_encoder": "text encoder", "text_encoder_2": "text encoder 2", "vae": "VAE"}
_PREFIXES = (
    (UNET_PREFIX, "U-Net"),
    (VAE_PREFIX, "VAE"),
    ("cond_stage_model.", "text encoder"),
    ("conditioner.embedders.0.", "text encoder"),
    ("conditioner.embedders.1.", "text encoder 2"),
    (EMA_PREFIX, "averaged copy (EMA)"),
)


def inspect_file(path: Path) -> Inspection:
    """Look at a safetensors file or a diffusers folder. Only headers and a LoRA's alphas are read.

    Raises:
        CheckpointError: it is neither, or not whole; pickles are refused unread.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file")
    if path.is_dir():
        return _folder(path)
    header = read_header(path, str(path))
    common = _common(path, {path.name: path}, [header]) | {
        "tags": _tags(header.metadata),
        "made": tuple(_made(header.metadata)),
        "metadata": dict(sorted(header.metadata.items())),
    }
    if is_diffusers(header) or any(key.startswith("lora_") for key in header.tensors):
        return Inspection.model_validate({**common, **_lora(path, header)})
    try:
        architecture = detect_architecture(header.tensors.keys(), path.name)
    except CheckpointError as error:
        what = str(error).removeprefix(f"{path.name}: ").partition(";")[0]
        return Inspection.model_validate({**common, "kind": "other", "what": what, "architecture": "unknown"})
    what = "a base model in the original layout" + (", merged" if MERGED in header.metadata else "")
    counts = _parameters((_model_of(key), info) for key, info in header.tensors.items())
    found = {"kind": "checkpoint", "what": what, "architecture": architecture, "parameters": counts}
    return Inspection.model_validate({**common, **found})


def _folder(path: Path) -> Inspection:
    """A diffusers folder.

    Raises:
        CheckpointError: it is none.
    """
    files = find_model_files(str(path), "")
    if len(files) == 1:  # a folder around a single file
        return inspect_file(*files.values())
    headers = {name: read_header(file, name) for name, file in files.items() if name.endswith(".safetensors")}
    weights = {name: files[name] for name in headers}
    tensors = ((name.partition("/")[0], info) for name, header in headers.items() for info in header.tensors.values())
    return Inspection.model_validate(
        {
            **_common(path, weights, list(headers.values())),
            "kind": "checkpoint",
            "what": "a base model as a diffusers folder",
            "architecture": find_weights(headers, files).architecture,
            "parameters": _parameters((_FOLDERS.get(folder, folder), info) for folder, info in tensors),
            "made": tuple(line for header in headers.values() for line in _made(header.metadata)),
        }
    )


def _common(path: Path, files: Mapping[str, Path], headers: list[Header]) -> dict[str, object]:
    return {
        "path": str(path),
        "size_bytes": sum(file.stat().st_size for file in files.values()),
        "tensors": sum(len(header.tensors) for header in headers),
        "dtypes": tuple(sorted({info.dtype for header in headers for info in header.tensors.values()})),
    }


def _parameters(tensors: Iterable[tuple[str, TensorInfo | torch.Tensor]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for model, info in tensors:
        counts[model] += math.prod(info.shape)
    return {model: counts[model] for model in (*_FOLDERS.values(), *sorted(counts)) if counts[model]}


def _model_of(key: str) -> str:
    """Which model of a single file a tensor belongs to."""
    return next((model for start, model in _PREFIXES if key.startswith(start)), "other")


def _made(metadata: Mapping[str, str]) -> Iterable[str]:
    """What our tools have noted, in words; nothing where the note is not as they write it."""
    try:
        if made := json_of(metadata.get(MADE, "null")):
            sources = (f"{each['weight']:g} × {each['sha256'][:12]}" for each in made.get("sources", ()))
            yield f"by {made['how']} from {' and '.join(sources) or 'two models'}"
        for each in json_of(metadata.get(MERGED, "[]")):
            yield f"by merging {each['weight']:g} × {each['lora_sha256'][:12]} into it"
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return


def _lora(path: Path, header: Header) -> dict[str, object]:
    try:
        return _adapters(OpenAdapters(path, path.name)) if is_marked(header) else _plain(path, header)
    except LoraError as error:
        problem = str(error).removeprefix(f"{path.name}: ")
        names = {key.partition(".")[0]: 0 for key in header.tensors}
        what = other_kind(header) if problem.startswith("this is ") else ""
        found = {"kind": "other", "what": what or problem, "architecture": lora_architecture(names, header.metadata)}
        return found | ({"modules": len(names), "parts": _count(names)} if what else {})


def _plain(path: Path, header: Header) -> dict[str, object]:
    """A plain LoRA.

    Raises:
        LoraError: it is none.
    """
    parts, file = lora_parts(header, path.name), TensorFile(path, path.name)
    stated = {float(file.read(part.keys["alpha"])) for part in parts.values() if "alpha" in part.keys}
    return {
        "kind": "lora",
        "what": "a LoRA" + (" in diffusers' naming" if is_diffusers(header) else ""),
        "architecture": lora_architecture(input_widths(parts), header.metadata),
        "modules": len(parts),
        "parts": _count(parts),
        "ranks": tuple(sorted({part.rank for part in parts.values()})),
        "alphas": tuple(sorted(stated | {part.alpha for part in parts.values() if part.alpha is not None})),
        "parameters": _parameters(
            (_part(name), info) for name, part in parts.items() for half, info in part.infos.items() if half != "alpha"
        ),
    }


def _adapters(lora: OpenAdapters) -> dict[str, object]:
    """A LoRA of another kind."""
    tensors = ((_part(name), each) for name, adapter in lora.parts.items() for each in adapter.tensors.values())
    return {
        "kind": "lora",
        "what": lora.words,
        "architecture": lora.architecture,
        "modules": len(lora.parts),
        "parts": _count(lora.parts),
        "ranks": tuple(sorted({each.rank for each in lora.parts.values() if each.rank})),
        "alphas": tuple(sorted({each.alpha for each in lora.parts.values() if each.rank})),
        "parameters": _parameters(tensors),
    }


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(_part(name) for name in names).items()))


def _part(name: str) -> str:
    starts = {"lora_te2_": "text encoder 2", "lora_te": "text encoder"}
    return next((part for start, part in starts.items() if name.startswith(start)), "U-Net")


def _tags(metadata: Mapping[str, str]) -> tuple[Tag, ...]:
    """The most frequent tags over all sets; none if the metadata does not hold them as it should."""
    counts: Counter[str] = Counter()
    for frequencies in tag_frequency(metadata).values():
        counts.update(frequencies)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Tag(name=name, count=count) for name, count in ranked[:_TOP_TAGS])
