"""A base model in memory: the names of its modules, those that get a LoRA, and a finished LoRA that acts on it."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from torch import nn

from lora_core.errors import RecipeError
from lora_core.hub.detect import Architecture
from lora_core.hub.layout import Part, unet_name
from lora_core.lora.naming import TEXT_MODULES, TEXT_PARTS, Build, Module, file_names
from lora_core.recipe import Network


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


def attachable_names(base: Base, part: Part, *, norms: bool = False) -> dict[str, str]:
    """LoRA name → path of every layer that some trainer makes a LoRA for: the trainable ones and all convolutions.

    With `norms` those too that have no matrix, but of which files hold differences.

    Of the names in use for a module sd-scripts' own comes last.
    """
    paths = trainable_paths(base, part)
    if part == "unet":
        paths = [path for path, module in base.unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    if norms:
        every = model_of(base, part).named_modules()
        paths += [path for path, module in every if isinstance(module, nn.LayerNorm | nn.GroupNorm)]
    build = build_of(base)
    names = [(file_names(base.architecture, Module(part, path), build), path) for path in paths]
    return {name: path for alternatives, path in names for name in reversed(alternatives)}


# ── modules to train ──────────────────────────────────────────────────────────────────────────────────────────────────

LoraPart = Literal["unet", "text_encoder", "text_encoder_2"]
_RESIDUAL = re.compile(r"\.(resnets|downsamplers|upsamplers)\.")
_BLOCKS = {"input_blocks": "IN", "middle_block": "MID", "output_blocks": "OUT"}


@dataclass(frozen=True)
class Target:
    """One module that is trained."""

    path: str
    """In the part's model."""
    name: str
    """As in the file."""
    part: LoraPart
    rank: int
    alpha: float
    lr_factor: float
    """Factor on its part's learning rate."""


def targets(
    base: Base, network: Network, *, rank: int, alpha: float, unet: bool, text_encoder: bool
) -> tuple[Target, ...]:
    """Every module that is trained, text encoders first as in sd-scripts' files.

    Args:
        base: the base; its modules may be on the meta device.
        network: what differs from one rank for everything.
        rank: of the attention's modules, and of all for which the network has no other.
        alpha: theirs.
        unet: whether the U-Net is trained.
        text_encoder: whether the text encoders are.

    Raises:
        RecipeError: `block_lr` names a block that the base does not have, or leaves nothing to train.
    """
    found: list[Target] = []
    encoders = {f"TE{number}": part for number, part in enumerate(TEXT_PARTS[: len(base.text_encoders)], 1)}
    if text_encoder:
        width = network.text_encoder_rank or rank
        scaled = network.text_encoder_alpha or alpha / rank * width
        for called, part in encoders.items():
            if factor := network.block_factors.get(called, 1.0):
                for path in trainable_paths(base, part):
                    found.append(Target(path, _name(base, part, path), cast(LoraPart, part), width, scaled, factor))
    _refuse_unknown("block_lr", {"TE1", "TE2"} & network.block_factors.keys(), set(encoders))
    if unet:
        found += _unet(base, network, rank, alpha)
    if not found:
        raise RecipeError(f"network.block_lr = {list(network.block_lr)}: every block is at 0; nothing is left to train")
    return tuple(found)


def _name(base: Base, part: Part, path: str) -> str:
    return file_names(base.architecture, Module(part, path), build_of(base))[0]


def block_of(path: str, build: Build) -> str:
    """The block of a U-Net's module as web UIs call it: IN00 to IN11, MID, OUT00 to OUT11.

    Args:
        path: in diffusers' model.
        build: the U-Net's.
    """
    way, number, *_ = unet_name(f"{path}.", build.layers, build.up_attention).split(".")
    return _BLOCKS[way] if way == "middle_block" else f"{_BLOCKS[way]}{int(number):02d}"


def _unet(base: Base, network: Network, rank: int, alpha: float) -> Iterator[Target]:
    factors, ranks = network.block_factors, network.block_ranks
    build = build_of(base)
    known: set[str] = set()
    for path, (width, scaled) in _widths(base, network, rank, alpha).items():
        block = block_of(path, build)
        group = block.rstrip("0123456789")
        known |= {block, group}
        factor = factors.get(block, factors.get(group, 1.0))
        own = ranks.get(block, ranks.get(group, rank))
        if own != rank and (width, scaled) == (rank, alpha):
            width, scaled = own, alpha / rank * own
        if factor:
            yield Target(path, _name(base, "unet", path), "unet", width, scaled, factor)
    _refuse_unknown("block_lr", factors.keys() - {"TE1", "TE2"}, known)
    _refuse_unknown("block_rank", ranks.keys(), known)


def _refuse_unknown(option: str, named: Collection[str], known: Collection[str]) -> None:
    if unknown := sorted(set(named) - set(known)):
        raise RecipeError(
            f"network.{option} names {', '.join(unknown)}, where this base has nothing to train; "
            f"it has {', '.join(sorted(known))}"
        )


def _widths(base: Base, network: Network, rank: int, alpha: float) -> Mapping[str, tuple[int, float]]:
    """Path → rank and alpha. With `conv_rank` sd-scripts' choice: of residual blocks and samplers every layer."""
    found = dict.fromkeys(trainable_paths(base, "unet"), (rank, alpha))
    if not network.conv_rank:
        return found
    width, scaled = network.conv_rank, network.conv_alpha or alpha / rank * network.conv_rank
    for path, module in base.unet.named_modules():
        if _RESIDUAL.search(path) and isinstance(module, nn.Linear | nn.Conv2d):
            wide = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
            found[path] = (width, scaled) if wide else (rank, alpha)
    return found
