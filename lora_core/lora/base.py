"""A base model in memory: the names of its modules, those that get a LoRA, and a finished LoRA that acts on it."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from lora_core.errors import LoraError, RecipeError
from lora_core.hub.detect import Architecture
from lora_core.hub.layout import Part, unet_name
from lora_core.lora.file import LoraFile, read_lora
from lora_core.lora.module import LoraModule
from lora_core.lora.naming import TEXT_MODULES, TEXT_PARTS, Build, Module, file_names, misfit
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


# ── a finished LoRA ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Attached:
    """The LoRA on a base, the weight that all its modules read, and the handles that take it off."""

    lora: LoraFile
    weight: float
    handles: list[RemovableHandle]


_attached: WeakKeyDictionary[nn.Module, _Attached] = WeakKeyDictionary()


def attach(components: Base, lora: LoraFile | Path, weight: float) -> None:
    """Let a LoRA act on a base model until `detach`; one that was attached before is replaced.

    Attaching the same file object again only changes the weight.

    Args:
        components: the base.
        lora: the file, or its content as read.
        weight: 1 for as trained.

    Raises:
        LoraError: the file is not readable or does not fit the base; the former LoRA then stays.
    """
    now = _attached.get(components.unet)
    if now is not None and now.lora is lora:
        now.weight = weight
        return
    file = read_lora(lora) if isinstance(lora, Path) else lora
    targets = _targets(components, file)
    detach(components)
    new = _Attached(file, weight, [])
    for name, module in targets.items():
        hook = _Addition if file.modules[name].is_plain else _Change
        new.handles.append(module.register_forward_hook(hook(module, file.modules[name], new)))
    _attached[components.unet] = new


def detach(components: Base) -> None:
    """Take the LoRA off; the base is exactly what it was."""
    now = _attached.pop(components.unet, None)
    for handle in now.handles if now else ():
        handle.remove()


def _targets(components: Base, file: LoraFile) -> Mapping[str, nn.Module]:
    """LoRA name → the base's module.

    Raises:
        LoraError: a name or a shape does not fit.
    """
    models = [("unet", components.unet), *zip(TEXT_PARTS, components.text_encoders, strict=False)]
    modules = {
        name: model.get_submodule(path)
        for part, model in models
        for name, path in attachable_names(components, part).items()
    }
    if unknown := [name for name in file.modules if name not in modules]:
        raise LoraError(misfit(file.name, unknown, len(file.modules), components.architecture))
    for name, lora in file.modules.items():
        shape = modules[name].get_parameter("weight").shape
        if made_for := lora.misfit(shape):
            raise LoraError(
                f"{file.name}: {name} is made for a weight of {made_for}, the base's has {'×'.join(map(str, shape))}; "
                f"it is for another architecture than this base ({components.architecture})"
            )
    return {name: modules[name] for name in file.modules}


class _Change:
    """A forward hook that adds what a changed weight would add: for kinds that are no product of two matrices."""

    def __init__(self, module: nn.Module, lora: LoraModule, attached: _Attached) -> None:
        self._attached = attached
        self._lora = lora.to(module.get_parameter("weight").device)

    def __call__(self, module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        weight = module.get_parameter("weight")
        change = (self._lora.merged(weight, self._attached.weight) - weight).to(weight.dtype)
        if isinstance(module, nn.Conv2d):
            return output + functional.conv2d(args[0], change, None, module.stride, module.padding, module.dilation)
        return output + functional.linear(args[0], change)


class _Addition:
    """A forward hook that adds weight · alpha / rank · up(down(x)), without ever making up · down."""

    def __init__(self, module: nn.Module, lora: LoraModule, attached: _Attached) -> None:
        weight = module.get_parameter("weight")
        self._attached = attached
        self._scale = lora.scale

        def matrix(tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.to(device=weight.device, dtype=weight.dtype)
            if isinstance(module, nn.Conv2d):
                return tensor if tensor.ndim == 4 else tensor[:, :, None, None]
            return tensor.flatten(1)

        self._down, self._up = matrix(lora.down), matrix(lora.up)
        self._mid = None if lora.mid is None else matrix(lora.mid)

    def __call__(self, module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        if self._down.dtype != args[0].dtype:  # the base is held in another format since
            self._down, self._up = self._down.to(args[0].dtype), self._up.to(args[0].dtype)
            self._mid = None if self._mid is None else self._mid.to(args[0].dtype)
        change = self._convolved(module, args[0]) if isinstance(module, nn.Conv2d) else self._linear(args[0])
        return output + change * (self._scale * self._attached.weight)

    def _linear(self, inputs: torch.Tensor) -> torch.Tensor:
        return functional.linear(functional.linear(inputs, self._down), self._up)

    def _convolved(self, module: nn.Conv2d, inputs: torch.Tensor) -> torch.Tensor:
        """The base's stride and padding belong to the one kernel that is larger than 1×1."""
        if self._mid is not None:
            inputs, kernel = functional.conv2d(inputs, self._down), self._mid
        else:
            kernel = self._down
        hidden = functional.conv2d(inputs, kernel, None, module.stride, module.padding, module.dilation)
        return functional.conv2d(hidden, self._up)
