"""What a file is: a LoRA, a checkpoint or neither, told from its header alone."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_core.errors import CheckpointError, LoraError
from lora_core.hub.formats import Header, read_header
from lora_core.hub.layout import detect_architecture
from lora_core.lora.header import tag_frequency
from lora_core.lora.keys import lora_architecture
from lora_core.lora.parts import input_widths, is_diffusers, lora_parts
from lora_core.lora.tensors import TensorFile

_TOP_TAGS = 30
_SHORT = 100


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
    ranks: tuple[int, ...] = Field(default=(), description="Of a LoRA, each once.")
    alphas: tuple[float, ...] = Field(default=(), description="Of a LoRA, each once; empty: as the rank.")
    tags: tuple[Tag, ...] = Field(default=(), description="The most frequent tags, from the metadata.")
    metadata: Mapping[str, str] = Field(default={})

    def __str__(self) -> str:
        """What a person wants to know, line by line; the metadata that is long JSON is left to programs."""
        lines = [f"{self.path}: {self.what}", f"architecture  {self.architecture}"]
        lines.append(f"size          {self.size_bytes / 1e6:.1f} MB, {self.tensors} tensors, {', '.join(self.dtypes)}")
        if self.modules:
            parts = ", ".join(f"{count} {part}" for part, count in self.parts.items())
            lines.append(f"modules       {self.modules} ({parts})")
            lines.append(f"rank          {', '.join(map(str, self.ranks))}")
            lines.append(
                f"alpha         {', '.join(f'{alpha:g}' for alpha in self.alphas) or 'not stated: as the rank'}"
            )
        if self.tags:
            lines.append("tags          " + ", ".join(f"{tag.name} ({tag.count})" for tag in self.tags))
        short = {key: value for key, value in self.metadata.items() if len(value) <= _SHORT}
        lines += [f"  {key} = {value}" for key, value in short.items()]
        if len(short) < len(self.metadata):
            lines.append(f"  … and {len(self.metadata) - len(short)} long entries of metadata")
        return "\n".join(lines)


def inspect_file(path: Path) -> Inspection:
    """Look at a safetensors file. Only its header and a LoRA's alphas are read.

    Raises:
        CheckpointError: it is not a whole safetensors file; pickles are refused unread.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: this is a folder; name a .safetensors file")
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file")
    header = read_header(path, str(path))
    common = {
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "tensors": len(header.tensors),
        "dtypes": tuple(sorted({info.dtype for info in header.tensors.values()})),
        "tags": _tags(header.metadata),
        "metadata": dict(sorted(header.metadata.items())),
    }
    if is_diffusers(header) or any(key.startswith("lora_") for key in header.tensors):
        return Inspection.model_validate({**common, **_lora(path, header)})
    try:
        architecture = detect_architecture(header.tensors.keys(), path.name)
    except CheckpointError as error:
        what = str(error).removeprefix(f"{path.name}: ").partition(";")[0]
        return Inspection.model_validate({**common, "kind": "other", "what": what, "architecture": "unknown"})
    what = "a base model in the original layout" + (", merged" if "headcanon.merged" in header.metadata else "")
    return Inspection.model_validate({**common, "kind": "checkpoint", "what": what, "architecture": architecture})


def _lora(path: Path, header: Header) -> dict[str, object]:
    try:
        parts = lora_parts(header, path.name)
    except LoraError as error:
        what = str(error).removeprefix(f"{path.name}: ")
        names = {key.partition(".")[0]: 0 for key in header.tensors}
        return {"kind": "other", "what": what, "architecture": lora_architecture(names, header.metadata)}
    file = TensorFile(path, path.name)
    stated = {float(file.read(part.keys["alpha"])) for part in parts.values() if "alpha" in part.keys}
    return {
        "kind": "lora",
        "what": "a LoRA" + (" in diffusers' naming" if is_diffusers(header) else ""),
        "architecture": lora_architecture(input_widths(parts), header.metadata),
        "modules": len(parts),
        "parts": dict(sorted(Counter(_part(name) for name in parts).items())),
        "ranks": tuple(sorted({part.rank for part in parts.values()})),
        "alphas": tuple(sorted(stated | {part.alpha for part in parts.values() if part.alpha is not None})),
    }


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
