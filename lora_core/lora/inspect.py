"""The kind of a model file, LoRA, checkpoint or neither, and its contents, from the header alone."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from lora_core.bounded import json_of
from lora_core.errors import CheckpointError, LoraError, OtherKindError
from lora_core.hub import find_model_files
from lora_core.hub.detect import EMA_PREFIX, UNET_PREFIX, VAE_PREFIX, detect_architecture
from lora_core.hub.formats import Header, TensorInfo, read_header
from lora_core.lora.checkpoint import find_weights
from lora_core.lora.file import OpenLora, is_lora
from lora_core.lora.merge import MERGED
from lora_core.lora.metadata import MADE, tag_frequency
from lora_core.lora.module import LoraModule
from lora_core.lora.naming import BIAS, lora_architecture

_SHORT = 100
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


class Tag(BaseModel):
    """A tag and in how many captions of the training it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    count: int


class Inspection(BaseModel):
    """What `headcanon inspect` shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    kind: Literal["lora", "checkpoint", "other"]
    what: str = Field(description="In words.")
    architecture: str = Field(description="sd1, sd2, sdxl, or what can be said of it.")
    size_bytes: int
    tensors: int
    dtypes: tuple[str, ...]
    modules: int = Field(default=0, description="Of a LoRA.")
    parts: Mapping[str, int] = Field(default={}, description="Of a LoRA: modules of the U-Net and the text encoders.")
    ranks: tuple[int, ...] = Field(default=(), description="Of a LoRA, each once; none of whole matrices.")
    alphas: tuple[float, ...] = Field(default=(), description="Of a LoRA, each once; empty: as the rank.")
    tags: tuple[Tag, ...] = Field(default=(), description="The most frequent tags, from the metadata.")
    parameters: Mapping[str, int] = Field(default={}, description="Numbers in each model, or of a LoRA for each.")
    predicts: str = Field(default="", description="Of a checkpoint: epsilon or v, and whether it ends in pure noise.")
    unusable: str = Field(default="", description="Of a checkpoint: why it cannot be trained on or drawn with.")
    made: tuple[str, ...] = Field(default=(), description="How one of our tools made it, a line each.")
    metadata: Mapping[str, str] = Field(default={})

    def __str__(self) -> str:
        """What a person wants to know, line by line; the metadata that is long JSON is left to programs."""
        lines = [f"{self.path}: {self.what}", f"architecture  {self.architecture}"]
        lines.append(f"size          {self.size_bytes / 1e6:.1f} MB, {self.tensors} tensors, {', '.join(self.dtypes)}")
        if self.predicts:
            lines.append(f"predicts      {self.predicts}")
        if self.unusable:
            lines.append(f"not usable    {self.unusable}")
        if self.parameters:
            models = (f"{name} {float(f'{count / 1e6:.3g}'):,g} M" for name, count in self.parameters.items())
            lines.append(f"parameters    {', '.join(models)}")
        if self.modules:
            parts = ", ".join(f"{count} {part}" for part, count in self.parts.items())
            lines.append(f"modules       {self.modules} ({parts})")
            lines.append(f"rank          {', '.join(map(str, self.ranks)) or 'none'}")
        if self.kind == "lora":
            lines.append(
                f"alpha         {', '.join(f'{alpha:g}' for alpha in self.alphas) or 'not stated: as the rank'}"
            )
        lines += [f"made          {line}" for line in self.made]
        if self.tags:
            lines.append("tags          " + ", ".join(f"{tag.name} ({tag.count})" for tag in self.tags))
        short = {key: value for key, value in self.metadata.items() if len(value) <= _SHORT}
        lines += [f"  {key} = {value}" for key, value in short.items()]
        if len(short) < len(self.metadata):
            lines.append(f"  … and {len(self.metadata) - len(short)} long entries of metadata")
        return "\n".join(lines)


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
    if is_lora(header):
        return Inspection.model_validate({**common, **_lora(path, header)})
    try:
        architecture = detect_architecture(header.shapes, path.name)
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
        lora = OpenLora(path, path.name)
    except LoraError as error:
        parsed = {key.partition(".")[0]: 0 for key in header.tensors}
        what = error.what if isinstance(error, OtherKindError) else ""
        problem = str(error).removeprefix(f"{path.name}: ")
        found = {"kind": "other", "what": what or problem, "architecture": lora_architecture(parsed, header.metadata)}
        return found | ({"modules": len(parsed), "parts": _count(parsed)} if what else {})
    tensors = ((_part(name), each) for name, module in lora.modules.items() for each in module.tensors.values())
    naming = " in diffusers' naming" if lora.diffusers_naming else ""
    names = {name.removesuffix(BIAS) for name in lora.modules}
    several = "s" if len(lora.embeddings) > 1 else ""
    embeddings = f" with the embedding{several} {', '.join(lora.embeddings)}" if lora.embeddings else ""
    return {
        "kind": "lora",
        "what": lora.title + naming + embeddings,
        "architecture": lora.architecture,
        "modules": len(names),
        "parts": _count(names),
        "ranks": tuple(sorted({module.rank for module in lora.modules.values() if module.rank})),
        "alphas": tuple(sorted({alpha for each in lora.modules.values() if (alpha := _alpha(each)) is not None})),
        "parameters": _parameters(tensors),
    }


def _alpha(module: LoraModule) -> float | None:
    """The alpha that is shown: of a plain LoRA only one that the file states, of other kinds also the implied one."""
    implied = None if module.is_plain else float(module.rank)
    return (implied if module.alpha is None else module.alpha) if module.rank else None


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
