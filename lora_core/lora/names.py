"""Which module a LoRA name means: sd-scripts' names flatten a path's dots, so the way back needs a table.

The table is computed from the builds of Stable Diffusion 1, 2 and XL. It holds every linear layer and convolution of
the U-Net and the text encoders' attention and MLP, whether an architecture's own trainer touches them or not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from lora_core.hub.layout import Architecture, Part
from lora_core.lora.keys import TEXT_PARTS, kohya_name


@dataclass(frozen=True)
class _Build:
    """What decides the names of an architecture's modules."""

    layers: int
    up_attention: tuple[bool, ...]
    depth: int
    """Most transformer blocks in one attention module."""
    text_layers: tuple[int, ...]


_BUILDS: Mapping[Architecture, _Build] = {
    "sd1": _Build(2, (False, True, True, True), 1, (12,)),
    "sd2": _Build(2, (False, True, True, True), 1, (24,)),
    "sdxl": _Build(2, (True, True, False), 10, (12, 32)),
}
TEXT_MODULES = (*(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
"""Of a text encoder's layer."""
RESNET_MODULES = ("conv1", "conv2", "conv_shortcut", "time_emb_proj")
"""Of a residual block."""
_KERNELS = ("conv1", "conv2", "conv", "conv_in", "conv_out")
"""The U-Net's modules with a kernel of 3×3, by the ends of their paths."""
_ATTENTION = tuple(f"{attention}.{name}" for attention in ("attn1", "attn2") for name in ("to_q", "to_k", "to_v"))
_TRANSFORMER = (*_ATTENTION, "attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2")
END_MODULES = ("conv_in", "conv_out", *(f"{name}_embedding.linear_{n}" for name in ("time", "add") for n in (1, 2)))
"""Of the U-Net, outside its blocks."""


@cache
def module_places() -> Mapping[str, tuple[Part, str]]:
    """LoRA name → the model's part and the module's path in diffusers' or transformers' model, as diffusers saves it.

    Names of all architectures in one table, since none of them means two things. SDXL's U-Net is there in both namings
    in use, the original layout's blocks and diffusers'.
    """
    places: dict[str, tuple[Part, str]] = {}
    for architecture, build in _BUILDS.items():
        for part, path in _paths(build):
            places[name_of(architecture, part, path)] = (part, path)
            if part == "unet":
                places[plain_name(path)] = (part, path)
    return places


def name_of(architecture: Architecture, part: Part, path: str) -> str:
    """The LoRA name that sd-scripts gives a module.

    Raises:
        KeyError: the architecture has no such part, or no place for such a path.
    """
    if (part, path) not in _known(architecture == "sdxl"):
        raise KeyError(path)
    build = _BUILDS[architecture]
    return kohya_name(architecture, part, path, layers=build.layers, up_attention=build.up_attention)


def plain_name(path: str) -> str:
    """A module of the U-Net by diffusers' blocks, as some trainers name them for SDXL too."""
    return f"lora_unet_{path.replace('.', '_')}"


def same_name(name: str, architecture: str) -> str:
    """One name for a module of an SDXL U-Net, whichever of the two namings a file uses."""
    place = module_places().get(name)
    if architecture != "sdxl" or place not in _known(True) or place[0] != "unet":
        return name
    return name_of("sdxl", *place)


def kernel_of(name: str) -> tuple[int, ...]:
    """Sides of the kernel of the weight that a module changes; empty for a linear layer and a 1×1 convolution.

    A LoHa's file does not say: its matrices are those of the flattened weight.
    """
    part, path = module_places().get(name, ("text_encoder", ""))
    return (3, 3) if part == "unet" and path.rpartition(".")[2] in _KERNELS else ()


@cache
def _known(xl: bool) -> frozenset[tuple[Part, str]]:
    """Every module's place, of SDXL or of its elders, whose names are made alike."""
    builds = (build for architecture, build in _BUILDS.items() if (architecture == "sdxl") == xl)
    return frozenset(place for build in builds for place in _paths(build))


def _paths(build: _Build) -> Iterator[tuple[Part, str]]:
    for part, layers in zip(TEXT_PARTS, build.text_layers, strict=False):
        yield from ((part, f"text_model.encoder.layers.{n}.{module}") for n in range(layers) for module in TEXT_MODULES)
    yield from (("unet", path) for path in END_MODULES)
    levels = len(build.up_attention)
    for level in range(levels):
        yield from (("unet", path) for path in _block(f"down_blocks.{level}", build.layers, build.depth))
        yield from (("unet", path) for path in _block(f"up_blocks.{level}", build.layers + 1, build.depth))
        yield "unet", f"down_blocks.{level}.downsamplers.0.conv"
        yield "unet", f"up_blocks.{level}.upsamplers.0.conv"
    yield from (("unet", f"mid_block.resnets.{n}.{module}") for n in range(2) for module in RESNET_MODULES)
    yield from (("unet", path) for path in _attention("mid_block.attentions.0", build.depth))


def _block(block: str, count: int, depth: int) -> Iterator[str]:
    for index in range(count):
        yield from (f"{block}.resnets.{index}.{module}" for module in RESNET_MODULES)
        yield from _attention(f"{block}.attentions.{index}", depth)


def _attention(path: str, depth: int) -> Iterator[str]:
    yield from (f"{path}.proj_in", f"{path}.proj_out")
    for number in range(depth):
        yield from (f"{path}.transformer_blocks.{number}.{module}" for module in _TRANSFORMER)
