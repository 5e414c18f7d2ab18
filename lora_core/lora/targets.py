"""The modules of a base that get a LoRA: how wide it is, and how fast it learns."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from lora_core.errors import RecipeError
from lora_core.hub.layout import Part, unet_name
from lora_core.lora.naming import TEXT_PARTS, Build, Module, file_names
from lora_core.lora.weights import Base, build_of, trainable_paths
from lora_core.recipe import Network

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
    if text_encoder:
        width = network.text_encoder_rank or rank
        scaled = network.text_encoder_alpha or alpha / rank * width
        for part in TEXT_PARTS[: len(base.text_encoders)]:
            for path in trainable_paths(base, part):
                found.append(Target(path, _name(base, part, path), cast(LoraPart, part), width, scaled, 1.0))
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
    factors = network.block_factors
    build = build_of(base)
    known: set[str] = set()
    for path, (width, scaled) in _widths(base, network, rank, alpha).items():
        block = block_of(path, build)
        group = block.rstrip("0123456789")
        known |= {block, group}
        factor = factors.get(block, factors.get(group, 1.0))
        if factor:
            yield Target(path, _name(base, "unet", path), "unet", width, scaled, factor)
    if unknown := sorted(factors.keys() - known):
        raise RecipeError(
            f"network.block_lr names {', '.join(unknown)}, where this base has nothing to train; "
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
