"""The weights of a base model that a LoRA can change, by the LoRA names in use: in files, unread, and in memory."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from lora_core.bounded import TEXT_BYTES, json_of, read_bounded
from lora_core.errors import CheckpointError
from lora_core.hub.formats import Header, TensorInfo
from lora_core.hub.layout import Architecture, OriginalLayout, Part, Place, read_layout
from lora_core.lora.naming import TEXT_MODULES, TEXT_PARTS, Build, Module, file_names, modules_of


@dataclass(frozen=True)
class Weight:
    """A weight in one of the base's files."""

    file: str
    place: Place
    shape: tuple[int, ...]
    """Of the model's tensor, not of the file's."""


@dataclass(frozen=True)
class Weights:
    """Every weight of a base that a LoRA can change."""

    architecture: Architecture
    by_name: Mapping[str, Weight]


# ── in files ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def find_weights(headers: Mapping[str, Header], files: Mapping[str, Path]) -> Weights:
    """Find the weights by the base's headers alone.

    Args:
        headers: of every safetensors file of the base, by its name.
        files: all the base's files, name → path, for a folder's configs.

    Raises:
        CheckpointError: it is no Stable Diffusion 1, 2 or XL base.
    """
    if len(headers) == 1 and "/" not in (name := next(iter(headers))):
        layout = read_layout(headers[name].tensors.keys(), name)
        return Weights(layout.architecture, dict(_in_single_file(name, headers[name].tensors, layout)))
    return _in_folder(headers, files)


def _in_single_file(
    name: str, tensors: Mapping[str, TensorInfo], layout: OriginalLayout
) -> Iterator[tuple[str, Weight]]:
    """Try every module that the layout may have; the file has those whose tensors are there."""
    layers = _count(r"\.(?:encoder\.layers|transformer\.resblocks)\.(\d+)\.", tensors)
    depth = _count(r"\.transformer_blocks\.(\d+)\.", tensors)
    build = Build(layout.layers, layout.up_attention, depth, (layers,) * len(layout.text_encoders))
    for module in modules_of(build):
        place = layout.place(module.part, f"{module.path}.weight")
        if place.key in tensors:
            rows, *rest = tensors[place.key].shape
            weight = Weight(name, place, (rows if place.third is None else rows // 3, *rest))
            yield from ((lora, weight) for lora in file_names(layout.architecture, module, build))


def _count(pattern: str, tensors: Mapping[str, TensorInfo]) -> int:
    """How many numbers a pattern finds in the tensors' names; counted, since a name may hold any number."""
    return len({found[1] for key in tensors if (found := re.search(pattern, key))})


def _in_folder(headers: Mapping[str, Header], files: Mapping[str, Path]) -> Weights:
    if "unet/config.json" not in files:
        raise CheckpointError("base model: unet/config.json is missing; it is no whole diffusers folder")
    try:
        config = json_of(read_bounded(files["unet/config.json"], TEXT_BYTES, CheckpointError))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"base model: unet/config.json is not readable JSON ({error})") from None
    if not isinstance(config, dict):
        raise CheckpointError("base model: unet/config.json is not a JSON object")
    two = any(name.startswith("text_encoder_2/") for name in headers)
    architecture: Architecture = "sdxl" if two else "sd2" if config.get("use_linear_projection") else "sd1"
    build = Build(
        config.get("layers_per_block", 2), tuple("CrossAttn" in kind for kind in config.get("up_block_types", ()))
    )
    parts: tuple[Part, ...] = ("unet", *TEXT_PARTS)
    by_name: dict[str, Weight] = {}
    for file, header in headers.items():
        part = next((part for part in parts if file.startswith(f"{part}/")), None)
        for key, info in header.tensors.items() if part else ():
            path = key.removesuffix(".weight")
            if part and path != key and len(info.shape) >= 2 and "embeddings." not in path:
                weight = Weight(file, Place(key), info.shape)
                by_name |= dict.fromkeys(_names(architecture, Module(part, path), build), weight)
    return Weights(architecture, by_name)


def _names(architecture: Architecture, module: Module, build: Build) -> tuple[str, ...]:
    """The names in use for a module; none where a LoRA never touches it."""
    try:
        return file_names(architecture, module, build)
    except KeyError:
        return ()


# ── in memory ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Base(Protocol):
    """A base model in memory; `diffusion.components.Components` is one."""

    @property
    def architecture(self) -> Architecture:
        """Decides how modules are named."""

    @property
    def unet(self) -> nn.Module:
        """diffusers' U-Net."""

    @property
    def text_encoders(self) -> tuple[nn.Module, ...]:
        """One or two CLIP text models."""


def model_of(base: Base, part: Part) -> nn.Module:
    """The model that a part's modules are in."""
    return base.unet if part == "unet" else base.text_encoders[TEXT_PARTS.index(part)]


def build_of(base: Base) -> Build:
    """The sizes of a base's U-Net that decide its modules' names."""
    blocks = base.unet.get_submodule("up_blocks").children()
    down = base.unet.get_submodule("down_blocks.0.resnets")
    return Build(len(list(down.children())), tuple(hasattr(block, "attentions") for block in blocks))


def trainable_paths(base: Base, part: Part) -> list[str]:
    """Paths of the modules that sd-scripts makes a LoRA for by default, in the model's order.

    In the U-Net these are every linear layer and 1×1 convolution inside a `Transformer2DModel`, in CLIP the attention's
    four projections and the MLP's two layers.
    """
    model = model_of(base, part)
    if part != "unet":
        linear = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
        return [name for name in linear if name.endswith(TEXT_MODULES)]
    return [
        f"{name}.{inner}"
        for name, module in model.named_modules()
        if type(module).__name__ == "Transformer2DModel"
        for inner, child in module.named_modules()
        if isinstance(child, nn.Linear) or (isinstance(child, nn.Conv2d) and child.kernel_size == (1, 1))
    ]


def attachable_names(base: Base, part: Part) -> dict[str, str]:
    """LoRA name → path of every module that some trainer makes a LoRA for: the trainable ones and all convolutions.

    Of the names in use for a module sd-scripts' own comes last.
    """
    paths = trainable_paths(base, part)
    if part == "unet":
        paths = [path for path, module in base.unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    build = build_of(base)
    names = [(file_names(base.architecture, Module(part, path), build), path) for path in paths]
    return {name: path for alternatives, path in names for name in reversed(alternatives)}
