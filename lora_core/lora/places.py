"""Where a base model's files keep the weights that a LoRA changes, by LoRA name and without loading the base."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_core.bounded import TEXT_BYTES, json_of, read_bounded
from lora_core.errors import CheckpointError
from lora_core.hub.formats import Header, TensorInfo
from lora_core.hub.layout import UNET_PREFIX, Architecture, OriginalLayout, Part, Place, read_layout, unet_name
from lora_core.lora.keys import TEXT_PARTS, kohya_name
from lora_core.lora.names import END_MODULES, RESNET_MODULES, TEXT_MODULES, plain_name

_SAMPLERS = ("downsamplers.0.conv", "upsamplers.0.conv")


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


def find_weights(headers: Mapping[str, Header], files: Mapping[str, Path]) -> Weights:
    """Look the weights up in the base's headers.

    Args:
        headers: of every safetensors file of the base, by its name.
        files: all the base's files, name → path, for a folder's configs.

    Raises:
        CheckpointError: it is no Stable Diffusion 1, 2 or XL base.
    """
    if len(headers) == 1 and "/" not in (name := next(iter(headers))):
        layout = read_layout(headers[name].tensors.keys(), name)
        found = _single(headers[name].tensors, layout)
        return Weights(layout.architecture, {lora: Weight(name, *where) for lora, where in found})
    return _folder(headers, files)


# ── a single file ────────────────────────────────────────────────────────────────────────────────────────────────────


def _single(
    tensors: Mapping[str, TensorInfo], layout: OriginalLayout
) -> Iterator[tuple[str, tuple[Place, tuple[int, ...]]]]:
    for part, path in _paths(tensors, layout):
        place = layout.place(part, f"{path}.weight")
        if place.key in tensors:
            rows, *rest = tensors[place.key].shape
            shape = (rows if place.third is None else rows // 3, *rest)
            for name in _names(layout.architecture, part, path, layout.layers, layout.up_attention):
                yield name, (place, shape)


def _paths(tensors: Mapping[str, TensorInfo], layout: OriginalLayout) -> Iterator[tuple[Part, str]]:
    """Every module path that the layout may have; whether the file has it is seen by its tensors."""
    for part, _ in zip(TEXT_PARTS, layout.text_encoders, strict=False):
        for number in range(_text_layers(tensors)):
            yield from ((part, f"encoder.layers.{number}.{module}") for module in TEXT_MODULES)
    yield from (("unet", path) for path in END_MODULES)
    levels = len(layout.up_attention)
    blocks = [f"{way}_blocks.{level}" for way in ("down", "up") for level in range(levels)]
    for block in [*blocks, "mid_block"]:
        for index in range(layout.layers + 1):
            yield from (("unet", f"{block}.resnets.{index}.{module}") for module in RESNET_MODULES)
            if block != "mid_block" or index == 0:
                path = f"{block}.attentions.{index}"
                start = UNET_PREFIX + unet_name(f"{path}.", layout.layers, layout.up_attention)
                yield from (("unet", f"{path}.{rest}") for rest in _modules_behind(tensors, start))
    yield from (("unet", f"down_blocks.{level}.{_SAMPLERS[0]}") for level in range(levels))
    yield from (("unet", f"up_blocks.{level}.{_SAMPLERS[1]}") for level in range(levels))


def _text_layers(tensors: Mapping[str, TensorInfo]) -> int:
    found = (re.search(r"\.(?:encoder\.layers|transformer\.resblocks)\.(\d+)\.", key) for key in tensors)
    return max((int(match[1]) for match in found if match), default=-1) + 1


def _modules_behind(tensors: Mapping[str, TensorInfo], start: str) -> Iterator[str]:
    """Paths of the modules with a matrix or kernel whose names begin with `start`."""
    for key, info in tensors.items():
        if key.startswith(start) and key.endswith(".weight") and len(info.shape) >= 2:
            yield key.removeprefix(start).removesuffix(".weight")


# ── a diffusers folder ───────────────────────────────────────────────────────────────────────────────────────────────


def _folder(headers: Mapping[str, Header], files: Mapping[str, Path]) -> Weights:
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
    layers = config.get("layers_per_block", 2)
    up_attention = tuple("CrossAttn" in kind for kind in config.get("up_block_types", ()))
    parts: tuple[Part, ...] = ("unet", *TEXT_PARTS)
    by_name: dict[str, Weight] = {}
    for file, header in headers.items():
        part = next((part for part in parts if file.startswith(f"{part}/")), None)
        for key, info in header.tensors.items() if part else ():
            path = key.removesuffix(".weight")
            if part and path != key and len(info.shape) >= 2 and "embeddings." not in path:
                for name in _names(architecture, part, path, layers, up_attention):
                    by_name[name] = Weight(file, Place(key), info.shape)
    return Weights(architecture, by_name)


def _names(
    architecture: Architecture, part: Part, path: str, layers: int, up_attention: tuple[bool, ...]
) -> tuple[str, ...]:
    """The names in use for a module: for SDXL's U-Net there are two."""
    try:
        name = kohya_name(architecture, part, path, layers=layers, up_attention=up_attention)
    except KeyError:
        return ()
    if part == "unet" and architecture == "sdxl":
        return (name, plain_name(path))
    return (name,)
