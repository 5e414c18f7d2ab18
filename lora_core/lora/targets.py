"""Which modules of a base get a LoRA, how wide, and how fast they learn."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from lora_core.errors import RecipeError
from lora_core.hub.layout import unet_name
from lora_core.lora.keys import TEXT_PARTS, Base, attachable_names, module_names, unet_build
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
        rank: of the attention's modules, and of all that the network says nothing about.
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
            for path, name in module_names(base, part).items():
                found.append(Target(path, name, cast(LoraPart, part), width, scaled, 1.0))
    if unet:
        found += _unet(base, network, rank, alpha)
    if not found:
        raise RecipeError(f"network.block_lr = {list(network.block_lr)}: every block is at 0; nothing is left to train")
    return tuple(found)


def block_of(path: str, layers: int, up_attention: tuple[bool, ...]) -> str:
    """The block of a U-Net's module as web UIs call it: IN00 to IN11, MID, OUT00 to OUT11.

    Args:
        path: in diffusers' model.
        layers: residual blocks a level on the way down.
        up_attention: for each level on the way up, whether it has attention.
    """
    way, number, *_ = unet_name(f"{path}.", layers, up_attention).split(".")
    return _BLOCKS[way] if way == "middle_block" else f"{_BLOCKS[way]}{int(number):02d}"


def _unet(base: Base, network: Network, rank: int, alpha: float) -> Iterator[Target]:
    factors = network.block_factors
    build = unet_build(base.unet)
    known: set[str] = set()
    for path, (name, width, scaled) in _widths(base, network, rank, alpha).items():
        block = block_of(path, *build)
        group = block.rstrip("0123456789")
        known |= {block, group}
        factor = factors.get(block, factors.get(group, 1.0))
        if factor:
            yield Target(path, name, "unet", width, scaled, factor)
    if unknown := sorted(factors.keys() - known):
        raise RecipeError(
            f"network.block_lr names {', '.join(unknown)}, where this base has nothing to train; "
            f"it has {', '.join(sorted(known))}"
        )


def _widths(base: Base, network: Network, rank: int, alpha: float) -> Mapping[str, tuple[str, int, float]]:
    """Path → name, rank, alpha. With `conv_rank` sd-scripts' choice: of residual blocks and samplers every layer."""
    found = {path: (name, rank, alpha) for path, name in module_names(base, "unet").items()}
    if not network.conv_rank:
        return found
    width, scaled = network.conv_rank, network.conv_alpha or alpha / rank * network.conv_rank
    for path, name in {path: name for name, path in attachable_names(base, "unet").items()}.items():
        if _RESIDUAL.search(path):
            module = base.unet.get_submodule(path)
            wide = isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
            found[path] = (name, width, scaled) if wide else (name, rank, alpha)
    return found
