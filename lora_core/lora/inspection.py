"""What `headcanon inspect` shows."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
    ranks: tuple[int, ...] = Field(default=(), description="Of a LoRA, each once; none of whole matrices.")
    alphas: tuple[float, ...] = Field(default=(), description="Of a LoRA, each once; empty: as the rank.")
    tags: tuple[Tag, ...] = Field(default=(), description="The most frequent tags, from the metadata.")
    parameters: Mapping[str, int] = Field(default={}, description="Numbers in each model, or of a LoRA for each.")
    made: tuple[str, ...] = Field(default=(), description="How one of our tools made it, a line each.")
    metadata: Mapping[str, str] = Field(default={})

    def __str__(self) -> str:
        """What a person wants to know, line by line; the metadata that is long JSON is left to programs."""
        lines = [f"{self.path}: {self.what}", f"architecture  {self.architecture}"]
        lines.append(f"size          {self.size_bytes / 1e6:.1f} MB, {self.tensors} tensors, {', '.join(self.dtypes)}")
        if self.parameters:
            models = (f"{name} {count / 1e6:.3g} M" for name, count in self.parameters.items())
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
