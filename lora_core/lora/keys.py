"""Names of LoRA modules as sd-scripts writes them and web UIs read them.

A module's path with dots turned into underscores behind a prefix: `lora_unet_`, `lora_te_`; SDXL has `lora_te1_` and
`lora_te2_`, and names the blocks of its U-Net as the original layout does. Reference: sd-scripts 48d368f.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import nn

from lora_core.hub.layout import Architecture, Part, unet_name

TEXT_PARTS: tuple[Part, ...] = ("text_encoder", "text_encoder_2")
_PREFIX: dict[tuple[bool, Part], str] = {
    (False, "unet"): "lora_unet_",
    (False, "text_encoder"): "lora_te_",
    (True, "unet"): "lora_unet_",
    (True, "text_encoder"): "lora_te1_",
    (True, "text_encoder_2"): "lora_te2_",
}
_TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class Base(Protocol):
    """What the functions here need of a base model; `diffusion.components.Components` is one."""

    @property
    def architecture(self) -> Architecture:
        """Decides how modules are named."""

    @property
    def unet(self) -> nn.Module:
        """diffusers' U-Net."""

    @property
    def text_encoders(self) -> tuple[nn.Module, ...]:
        """One or two CLIP text models."""


def part_prefix(architecture: Architecture, part: Part) -> str:
    """What the names of a part's modules begin with.

    Raises:
        KeyError: the architecture has no such part, or a LoRA never touches it.
    """
    return _PREFIX[architecture == "sdxl", part]


def kohya_name(
    architecture: Architecture, part: Part, path: str, *, layers: int, up_attention: tuple[bool, ...]
) -> str:
    """The LoRA name of a module.

    Args:
        architecture: of the base.
        part: the model that the module is in.
        path: the module's path in diffusers' or transformers' model.
        layers: residual blocks a level on the U-Net's way down.
        up_attention: for each level on the U-Net's way up, whether it has attention.
    """
    prefix = part_prefix(architecture, part)
    if part != "unet":
        return f"{prefix}text_model_{path.removeprefix('text_model.').replace('.', '_')}"
    if architecture == "sdxl":
        path = unet_name(f"{path}.", layers, up_attention).rstrip(".")
    return prefix + path.replace(".", "_")


def module_names(base: Base, part: Part) -> dict[str, str]:
    """Path → LoRA name of every module that a LoRA can be made for, in the model's order.

    In the U-Net these are every linear layer and 1×1 convolution inside a `Transformer2DModel`, in CLIP the attention's
    four projections and the MLP's two layers: sd-scripts' choice.
    """
    model = base.unet if part == "unet" else base.text_encoders[TEXT_PARTS.index(part)]
    paths = _unet_paths(model) if part == "unet" else _text_paths(model)
    layers, up_attention = unet_build(base.unet)
    return {path: kohya_name(base.architecture, part, path, layers=layers, up_attention=up_attention) for path in paths}


def attachable_names(base: Base, part: Part) -> dict[str, str]:
    """LoRA name → path of every module that some trainer makes a LoRA for: `module_names` and all other convolutions.

    SDXL's U-Net is known by both namings in use, the original layout's and diffusers'.
    """
    if part != "unet":
        return {name: path for path, name in module_names(base, part).items()}
    layers, up_attention = unet_build(base.unet)
    paths = [path for path, module in base.unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    names = {f"lora_unet_{path.replace('.', '_')}": path for path in paths}
    if base.architecture == "sdxl":
        names |= {kohya_name("sdxl", "unet", path, layers=layers, up_attention=up_attention): path for path in paths}
    return names


def _unet_paths(unet: nn.Module) -> list[str]:
    return [
        f"{name}.{inner}"
        for name, module in unet.named_modules()
        if type(module).__name__ == "Transformer2DModel"
        for inner, child in module.named_modules()
        if _is_linear(child)
    ]


def _text_paths(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in _TEXT_TARGETS
    ]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))


def unet_build(unet: nn.Module) -> tuple[int, tuple[bool, ...]]:
    """Residual blocks a level on the U-Net's way down, and for each level on its way up whether it has attention."""
    blocks = unet.get_submodule("up_blocks").children()
    down = unet.get_submodule("down_blocks.0.resnets")
    return len(list(down.children())), tuple(hasattr(block, "attentions") for block in blocks)


_FOREIGN = {"flux": ("lora_unet_double_blocks_", "lora_unet_single_blocks_"), "sd3": ("lora_unet_joint_blocks_",)}
_SDXL = ("lora_te1_", "lora_te2_", "lora_unet_input_blocks_", "lora_unet_output_blocks_", "lora_unet_middle_block_")
_EARLIER = ("lora_te_", "lora_unet_down_blocks_", "lora_unet_up_blocks_", "lora_unet_mid_block_")
_PROMPT_WIDTHS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_VERSIONS = {"sdxl_": "sdxl", "sd_v2": "sd2", "sd_v1": "sd1"}


def lora_architecture(modules: Mapping[str, int], metadata: Mapping[str, str]) -> str:
    """What a LoRA was trained on: `sd1`, `sd2`, `sdxl`, `sd1 or sd2`, `flux`, `sd3` or `unknown`.

    Names tell SDXL from its elders, the width of the prompt that cross-attention reads tells those apart. The
    metadata is asked only where they say too little: it is the one thing that people edit.

    Args:
        modules: LoRA name → columns of its weight, 0 where that is not known.
        metadata: of the file.
    """
    for foreign, starts in _FOREIGN.items():
        if any(name.startswith(starts) for name in modules):
            return foreign
    if any(name.startswith(_SDXL) or "_transformer_blocks_1_" in name for name in modules):
        return "sdxl"
    prompt = {width for name, width in modules.items() if name.endswith(("attn2_to_k", "attn2_to_v"))}
    text = {width for name, width in modules.items() if name.startswith("lora_te_") and name.endswith("_proj")}
    for widths in (prompt, text):
        if len(known := {_PROMPT_WIDTHS[width] for width in widths if width in _PROMPT_WIDTHS}) == 1:
            return known.pop()
    version = metadata.get("ss_base_model_version", "")
    if stated := next((name for start, name in _VERSIONS.items() if version.startswith(start)), ""):
        return stated
    return "sd1 or sd2" if any(name.startswith(_EARLIER) for name in modules) else "unknown"


def naming(architecture: str) -> Architecture:
    """By which architecture's names a LoRA's modules are called: those of SD1 and SD2 are the same."""
    return "sdxl" if architecture == "sdxl" else "sd1"


def misfit(file: str, unknown: Sequence[str], total: int, architecture: Architecture) -> str:
    """The message for a LoRA some of whose modules the base does not have."""
    trained = lora_architecture(dict.fromkeys(unknown, 0), {})
    if trained != "unknown" and architecture not in trained:
        return f"{file}: this LoRA was trained on {trained}, the base is {architecture}; choose a base of its kind"
    some = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
    return (
        f"{file}: {len(unknown)} of its {total} modules match nothing in the {architecture} base ({some}); nothing done"
    )
