"""The names of a LoRA's modules, sd-scripts' in files, and the paths in the models (files' other keys: `keys.py`).

sd-scripts' name is the module's path with underscores for dots after a prefix: `lora_unet_`, `lora_te_`; SDXL has
`lora_te1_` and `lora_te2_`, and calls the blocks of its U-Net as the original layout does (sd-scripts 48d368f). It is
the name by which modules go in all tools here. The way back from a name to a path needs a table; it is computed from
the builds of Stable Diffusion 1, 2 and XL and holds every linear layer, convolution and norm of the U-Net and the text
encoders' attention, MLP and norms, whether an architecture's own trainer touches them or not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from lora_core.hub.detect import Architecture
from lora_core.hub.layout import Part, unet_name

BIAS = ".bias"
"""After a layer's name: the module that changes its bias."""
TEXT_PARTS: tuple[Part, ...] = ("text_encoder", "text_encoder_2")
TEXT_MODULES = (*(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")
"""Modules of a text encoder's layer."""
_TEXT_NORMS = ("layer_norm1", "layer_norm2")
_RESNET = ("norm1", "conv1", "norm2", "conv2", "conv_shortcut", "time_emb_proj")
_ATTENTION = tuple(f"{attention}.{name}" for attention in ("attn1", "attn2") for name in ("to_q", "to_k", "to_v"))
_NORMS = ("norm1", "norm2", "norm3")
_TRANSFORMER = (*_ATTENTION, "attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2", *_NORMS)
ENDS = (
    "conv_in",
    "conv_norm_out",
    "conv_out",
    *(f"{name}_embedding.linear_{n}" for name in ("time", "add") for n in (1, 2)),
)
_KERNELS = ("conv1", "conv2", "conv", "conv_in", "conv_out")
"""The U-Net's modules with a kernel of 3×3, by the ends of their paths."""
_UNET = "lora_unet_"
_TEXT_STARTS: Mapping[tuple[bool, Part], tuple[str, ...]] = {
    (False, "text_encoder"): ("lora_te_", "lora_te1_"),
    (True, "text_encoder"): ("lora_te1_",),
    (True, "text_encoder_2"): ("lora_te2_",),
}
"""By whether it is SDXL's, and the text encoder."""


class Module(NamedTuple):
    """A module of a base model: the model it is in, and its path in diffusers' or transformers' model."""

    part: Part
    path: str


@dataclass(frozen=True)
class Build:
    """The sizes that decide the names of a base's modules."""

    layers: int
    """Residual blocks a level on the U-Net's way down; on its way up there is one more."""
    up_attention: tuple[bool, ...]
    """For each level on the U-Net's way up, whether it has attention."""
    depth: int = 1
    """Most transformer blocks in one attention module."""
    text_layers: tuple[int, ...] = ()
    """Layers of each text encoder."""


_BUILDS: Mapping[Architecture, Build] = {
    "sd1": Build(2, (False, True, True, True), 1, (12,)),
    "sd2": Build(2, (False, True, True, True), 1, (24,)),
    "sdxl": Build(2, (True, True, False), 10, (12, 32)),
}


def modules_of(build: Build) -> Iterator[Module]:
    """Every module that such a base may have and that some trainer changes."""
    for part, layers in zip(TEXT_PARTS, build.text_layers, strict=False):
        for layer in (f"text_model.encoder.layers.{number}" for number in range(layers)):
            yield from (Module(part, f"{layer}.{module}") for module in (*TEXT_MODULES, *_TEXT_NORMS))
        yield Module(part, "text_model.final_layer_norm")
    yield from (Module("unet", path) for path in _unet_paths(build))


def _unet_paths(build: Build) -> Iterator[str]:
    yield from ENDS
    for level in range(len(build.up_attention)):
        yield from _block(f"down_blocks.{level}", build.layers, build.layers, build.depth)
        yield from _block(f"up_blocks.{level}", build.layers + 1, build.layers + 1, build.depth)
        yield f"down_blocks.{level}.downsamplers.0.conv"
        yield f"up_blocks.{level}.upsamplers.0.conv"
    yield from _block("mid_block", 2, 1, build.depth)


def _block(block: str, resnets: int, attentions: int, depth: int) -> Iterator[str]:
    yield from (f"{block}.resnets.{index}.{module}" for index in range(resnets) for module in _RESNET)
    for path in (f"{block}.attentions.{index}" for index in range(attentions)):
        yield from (f"{path}.norm", f"{path}.proj_in", f"{path}.proj_out")
        for number in range(depth):
            yield from (f"{path}.transformer_blocks.{number}.{module}" for module in _TRANSFORMER)


# ── sd-scripts' names ────────────────────────────────────────────────────────────────────────────────────────────────


def file_names(architecture: Architecture, module: Module, build: Build) -> tuple[str, ...]:
    """The names in use for a module in files, sd-scripts' own first.

    A U-Net is known by the original layout's blocks and by diffusers', SD1's and SD2's text encoder by `lora_te1_` too.

    Raises:
        KeyError: the architecture has no such module, or a LoRA never touches it.
    """
    part, path = module
    xl = architecture == "sdxl"
    if part == "unet":
        plain = _UNET + path.replace(".", "_")
        original = _UNET + unet_name(f"{path}.", build.layers, build.up_attention).rstrip(".").replace(".", "_")
        return (original, plain) if xl else (plain, original)
    rest = f"text_model_{path.removeprefix('text_model.').replace('.', '_')}"
    return tuple(start + rest for start in _TEXT_STARTS[xl, part])


@cache
def module_table() -> Mapping[str, Module]:
    """sd-scripts' name → module, of all architectures together, since no name means two things."""
    return {
        name: module
        for architecture, build in _BUILDS.items()
        for module in modules_of(build)
        for name in file_names(architecture, module, build)
    }


@cache
def original_table() -> Mapping[str, str]:
    """Path in the original layout's U-Net → path in diffusers', of all architectures."""
    return {
        unet_name(f"{path}.", build.layers, build.up_attention).rstrip("."): path
        for build in _BUILDS.values()
        for path in _unet_paths(build)
    }


@cache
def _known(xl: bool) -> frozenset[Module]:
    """Every module of SDXL, or of its elders, whose names are made alike."""
    return frozenset(
        module for name, build in _BUILDS.items() if (name == "sdxl") == xl for module in modules_of(build)
    )


def name_of(architecture: str, module: Module) -> str:
    """The name that sd-scripts gives a module.

    Args:
        architecture: "sdxl", or any other: SD1's and SD2's modules are called alike.
        module: its part and path; of a bias with `BIAS` after it.

    Raises:
        KeyError: the architecture has no such module.
    """
    xl, layer = architecture == "sdxl", _layer_of(module)
    if layer not in _known(xl):
        raise KeyError(module)
    name = file_names("sdxl" if xl else "sd1", layer, _BUILDS["sdxl" if xl else "sd1"])[0]
    return name if layer == module else name + BIAS


def _layer_of(module: Module) -> Module:
    return Module(module.part, module.path.removesuffix(BIAS))


def same_name(name: str, architecture: str) -> str:
    """One name for a module, whichever of the names in use a file has; one that is not known stays as it is."""
    module = module_table().get(name)
    if module is None or "or sdxl" in architecture or module not in _known(architecture == "sdxl"):
        return name
    return name_of(architecture, module)


def kernel_of(name: str) -> tuple[int, ...]:
    """Sides of the kernel of the weight that a module changes; empty for a linear layer and a 1×1 convolution.

    A LoHa's file does not record it: its matrices are those of the flattened weight.
    """
    part, path = module_table().get(name, Module("text_encoder", ""))
    return (3, 3) if part == "unet" and path.rpartition(".")[2] in _KERNELS else ()


# ── architectures ────────────────────────────────────────────────────────────────────────────────────────────────────

_FOREIGN = {"flux": ("lora_unet_double_blocks_", "lora_unet_single_blocks_"), "sd3": ("lora_unet_joint_blocks_",)}
_ORIGINAL = ("lora_unet_input_blocks_", "lora_unet_output_blocks_", "lora_unet_middle_block_")
_EARLIER = ("lora_te_", "lora_unet_down_blocks_", "lora_unet_up_blocks_", "lora_unet_mid_block_")
_PROMPT_WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_VERSIONS = {"sdxl_": "sdxl", "sd_v2": "sd2", "sd_v1": "sd1"}


def lora_architecture(modules: Mapping[str, int], metadata: Mapping[str, str]) -> str:
    """The architecture that a LoRA was trained on: `sd1`, `sd2`, `sdxl`, `sd1 or sd2`, `sd1 or sdxl`, `flux`, `sd3` or
    `unknown`.

    The width of the prompt that cross-attention reads tells, whatever the names: SD1 and SD2 have the original layout's
    in some files. Else a second text encoder or deep transformers do. The metadata is used only where these leave it
    open: it is the one thing that people edit.

    Args:
        modules: sd-scripts' name → columns of its weight, 0 where that is not known.
        metadata: of the file.
    """
    for foreign, starts in _FOREIGN.items():
        if any(name.startswith(starts) for name in modules):
            return foreign
    prompt = {width for name, width in modules.items() if name.endswith(("attn2_to_k", "attn2_to_v"))}
    text = {width for name, width in modules.items() if name.startswith(("lora_te_", "lora_te1_")) and "_proj" in name}
    if len(known := {_PROMPT_WIDTHS[width] for width in prompt if width in _PROMPT_WIDTHS}) == 1:
        return known.pop()
    if any(name.startswith("lora_te2_") or "_transformer_blocks_1_" in name for name in modules):
        return "sdxl"
    first_alone = any(name.startswith("lora_te1_") for name in modules)  # some trainers name SD1's so
    known = {_PROMPT_WIDTHS[width] for width in text if width in _PROMPT_WIDTHS}
    if len(known) == 1 and not (first_alone and known == {"sd1"}):
        return known.pop()
    version = metadata.get("ss_base_model_version", "")
    if stated := next((name for start, name in _VERSIONS.items() if version.startswith(start)), ""):
        return stated
    if any(name.startswith(_ORIGINAL) for name in modules):  # of SD1 and SD2 too, by some trainers
        return "sdxl"
    if first_alone:  # SD1's text encoder is SDXL's first
        return "sd1 or sdxl"
    return "sd1 or sd2" if any(name.startswith(_EARLIER) for name in modules) else "unknown"


def misfit(file: str, unknown: Sequence[str], total: int, architecture: Architecture) -> str:
    """The message for a LoRA some of whose modules the base does not have."""
    trained = lora_architecture(dict.fromkeys(unknown, 0), {})
    if trained != "unknown" and architecture not in trained.split(" or "):
        return f"{file}: this LoRA was trained on {trained}, the base is {architecture}; choose a base of its kind"
    some = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
    return (
        f"{file}: {len(unknown)} of its {total} modules match nothing in the {architecture} base ({some}); nothing done"
    )


def names_of(modules: Mapping[Module, int], metadata: Mapping[str, str]) -> tuple[str, dict[Module, str]]:
    """sd-scripts' names for the modules of a file in diffusers' naming.

    Args:
        modules: module → columns of its weight.
        metadata: of the file.

    Returns:
        The architecture whose names they are, and the name of each module that it has.
    """
    two = any(part == "text_encoder_2" for part, _ in modules)
    starts = {"unet": _UNET, "text_encoder": "lora_te1_" if two else "lora_te_", "text_encoder_2": "lora_te2_"}
    widths = {starts[part] + path.replace(".", "_"): width for (part, path), width in modules.items()}
    architecture = "sdxl" if lora_architecture(widths, metadata) == "sdxl" else "sd1"
    known = _known(architecture == "sdxl")
    return architecture, {module: name_of(architecture, module) for module in modules if _layer_of(module) in known}
