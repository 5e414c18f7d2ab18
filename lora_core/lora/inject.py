"""A new LoRA inside a base model, for training, as peft's modules."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from lora_core.device import counter_generator
from lora_core.errors import LoraError
from lora_core.lora.base import Base, LoraPart, Target, model_of, targets
from lora_core.lora.dora import column_norms, positive
from lora_core.lora.file import read_lora
from lora_core.lora.folded import FOLDED
from lora_core.lora.module import DOWN, MAGNITUDE, UP, LoraModule
from lora_core.recipe import Network

ADAPTER = "default"
_LORA = {DOWN: "lora_A.{}.weight", UP: "lora_B.{}.weight"}
_LOHA = {key: f"{key}.{{}}" for key in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")}
_LOKR = {key: f"{key}.{{}}" for key in ("lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b")}
_MATRICES = {"lora": _LORA, "dora": _LORA, "loha": _LOHA, "lokr": _LOKR}
"""Of each kind: a matrix's name in the file → its name in peft's module."""
_ZERO_AT_FIRST = (UP, "hada_w2_b", "lokr_w2", "lokr_w2_b")


@dataclass(frozen=True)
class LoraLayer:
    """One module's LoRA. Of the plain kind, its output is up(down(x)) · alpha / rank."""

    name: str
    """As in the file, without `.lora_down.weight`."""
    part: LoraPart
    matrices: Mapping[str, nn.Parameter]
    """The trained tensors, by their names in the file."""
    rank: int
    alpha: float
    lr_factor: float
    """Factor on its part's learning rate."""
    module: nn.Module = field(repr=False, compare=False)
    """peft's, in the place of the base's."""

    @property
    def down(self) -> nn.Parameter:
        """(rank, in) or (rank, in, kh, kw), of the plain kind and of DoRA."""
        return self.matrices[DOWN]

    @property
    def up(self) -> nn.Parameter:
        """(out, rank) or (out, rank, 1, 1)."""
        return self.matrices[UP]

    def in_file(self, values: Mapping[str, torch.Tensor] | None = None) -> LoraModule:
        """The layer as it goes into a file, with other values than its own if some are given."""
        return LoraModule(self.matrices if values is None else values, self.alpha)


def inject(
    components: Base,
    *,
    rank: int,
    alpha: float,
    unet: bool,
    text_encoder: bool,
    seed: int,
    network: Network | None = None,
) -> tuple[LoraLayer, ...]:
    """Put a new LoRA into the models. They are changed in place; load a base anew for another training.

    Args:
        components: the base, frozen.
        rank: of every layer for which the network has no other.
        alpha: the LoRA's output is scaled by alpha / rank.
        unet: whether the U-Net gets one.
        text_encoder: whether the text encoders get one.
        seed: of the first values.
        network: its kind, other ranks, dropout of whole modules; None: a plain LoRA.

    Returns:
        The layers, text encoders first as in sd-scripts' files. Their parameters are float32 and trainable. All but
        one of a module's matrices are drawn kaiming-uniform with a = √5, so within ±1/√in, from the seed and the
        layer's name alone; that one is zero, so the model's output is at first unchanged.

    Raises:
        LoraError: neither part was asked for, or the base has a LoRA already.
        RecipeError: `network.block_lr` does not fit the base.
    """
    if not (unet or text_encoder):
        raise LoraError("neither the U-Net nor the text encoder is trained; give one of them a learning rate")
    if any(isinstance(module, BaseTunerLayer) for model in _models(components) for module in model.modules()):
        raise LoraError("the base has a LoRA in training already; load it anew")
    network = network or Network()
    found = targets(components, network, rank=rank, alpha=alpha, unet=unet, text_encoder=text_encoder)
    parts = dict.fromkeys(target.part for target in found)
    return tuple(
        layer
        for part in parts
        for layer in _inject_part(components, [each for each in found if each.part == part], network, seed)
    )


def _models(components: Base) -> tuple[nn.Module, ...]:
    return (components.unet, *components.text_encoders)


def _inject_part(components: Base, found: Sequence[Target], network: Network, seed: int) -> Iterator[LoraLayer]:
    part = found[0].part
    model = model_of(components, part)
    inject_adapter_in_model(_config(found, network), model, adapter_name=ADAPTER)
    for target in found:
        module = model.get_submodule(target.path)
        module.train(_peft_drops(network))
        yield _layer(target, module, network, seed)


def _peft_drops(network: Network) -> bool:
    """Whether peft is to leave rows or modules out; in training mode it draws numbers for that even at a share of 0."""
    return network.kind in ("loha", "lokr") and bool(network.rank_dropout or network.module_dropout)


def _config(found: Sequence[Target], network: Network) -> LoraConfig | LoHaConfig | LoKrConfig:
    """peft's, with the ranks that differ from the first module's by name."""
    first = found[0]
    others: dict[tuple[int, float], list[str]] = {}
    for target in found:
        if (shape := (target.rank, target.alpha)) != (first.rank, first.alpha):
            others.setdefault(shape, []).append(target.path.replace(".", r"\."))
    common: dict[str, Any] = {
        "r": first.rank,
        "target_modules": [target.path for target in found],
        "rank_pattern": {"|".join(paths): rank for (rank, _), paths in others.items()},
        "alpha_pattern": {"|".join(paths): alpha for (_, alpha), paths in others.items()},
    }
    dropouts = {"rank_dropout": network.rank_dropout, "module_dropout": network.module_dropout}
    if network.kind == "loha":
        return LoHaConfig(**common, **dropouts, alpha=first.alpha, init_weights=False)
    if network.kind == "lokr":
        factor = network.factor or -1
        return LoKrConfig(**common, **dropouts, alpha=first.alpha, init_weights=False, decompose_factor=factor)
    config = LoraConfig(**common, lora_alpha=first.alpha, init_lora_weights=False, lora_dropout=0.0)
    if not (network.dropout or network.rank_dropout or network.module_dropout):
        config._register_custom_module(FOLDED)
    return config


def _layer(target: Target, module: Any, network: Network, seed: int) -> LoraLayer:
    there = dict(module.named_parameters())
    matrices = {
        key: there[path.format(ADAPTER)]
        for key, path in _MATRICES[network.kind].items()
        if path.format(ADAPTER) in there
    }
    alpha = target.alpha
    if network.kind == "lokr" and "lokr_w2" in matrices:  # both whole: web UIs take no scale from alpha then
        module.scaling[ADAPTER], alpha = 1.0, float(target.rank)
    for key, parameter in matrices.items():
        parameter.data = parameter.data.to(torch.float32)
        parameter.requires_grad_(True)
        if parameter.is_meta:
            continue
        if key in _ZERO_AT_FIRST:
            parameter.data.zero_()
        else:
            name = target.name if key == DOWN else f"{target.name}.{key}"
            parameter.data.copy_(first_values(tuple(parameter.shape), seed, name))
    if network.kind == "dora":
        matrices[MAGNITUDE] = add_magnitude(module, ADAPTER)
    return LoraLayer(target.name, target.part, matrices, target.rank, alpha, target.lr_factor, module)


@torch.no_grad()
def fill(layers: Sequence[LoraLayer], path: Path) -> None:
    """Give the layers the values of a LoRA file.

    Raises:
        LoraError: it has other modules, or modules of another shape or alpha.
    """
    file = read_lora(path)
    if odd := file.modules.keys() ^ {layer.name for layer in layers}:
        raise LoraError(f"{file.name}: {len(odd)} modules are in it or in this training alone, such as {min(odd)}")
    for layer in layers:
        module = file.modules[layer.name]
        shapes = {key: tensor.shape for key, tensor in module.tensors.items()}
        wanted = {key: matrix.shape for key, matrix in layer.matrices.items()}
        if shapes != wanted or module.alpha != layer.alpha:
            raise LoraError(
                f"{file.name}: {layer.name} has alpha {module.alpha} and {shapes}, and this training {layer.alpha} and "
                f"{wanted}; no training can begin with it"
            )
        for key, matrix in layer.matrices.items():
            matrix.copy_(module.tensors[key])


def first_values(shape: tuple[int, ...], seed: int, name: str) -> torch.Tensor:
    """A layer's first values: uniform within ±1/√fan_in (He et al. 2015 with a = √5, as torch's linear layers)."""
    generator = counter_generator(seed, int(hashlib.sha256(name.encode()).hexdigest(), 16))
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def add_magnitude(module: Any, adapter: str) -> nn.Parameter:
    """Make one of peft's LoRA modules a DoRA.

    A column's factor is a factor on its input, so the module's inputs are scaled and all else stays. The norm is a
    constant to the gradient (section 4.3 of the paper).

    Returns:
        The trained lengths, float32, (1, in) or (1, in, 1, 1); at first those of the base's weight.
    """
    base = module.get_base_layer()
    magnitude = nn.Parameter(column_norms(base.weight.detach().float()))

    def scale_inputs(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if module.disable_adapters:
            return inputs
        with torch.no_grad():
            norms = column_norms(base.weight.float() + module.get_delta_weight(adapter).float())
        factors = (magnitude / positive(norms)).to(inputs[0].dtype)
        return (inputs[0] * (factors if factors.ndim == 4 else factors[0]), *inputs[1:])

    module.register_forward_pre_hook(scale_inputs)
    return magnitude


def product_norm(down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """‖up · down‖, by ‖UD‖² = tr(UᵀU · DDᵀ): two small matrices instead of the whole product.

    Args:
        down: (rank, in, …).
        up: (out, rank, …).
    """
    rows, columns = down.flatten(1), up.flatten(1)
    return ((columns.T @ columns) * (rows @ rows.T)).sum().clamp(min=0).sqrt()


@torch.no_grad()
def limit_norms(layers: Sequence[LoraLayer], largest: float) -> None:
    """Scale every module whose change of its weight has a larger norm down to it, its matrices alike.

    sd-scripts' `scale_weight_norms`. Of a DoRA it is the part that turns the weight.
    """
    for layer in layers:
        matrices = [matrix for key, matrix in layer.matrices.items() if key != MAGNITUDE]
        if UP in layer.matrices:
            norm = product_norm(layer.down, layer.up) * (layer.alpha / layer.rank)
        else:
            module: Any = layer.module
            norm = module.get_delta_weight(ADAPTER).norm()
        ratio = (largest / norm.clamp(min=largest)) ** (1 / len(matrices))
        for matrix in matrices:
            matrix.mul_(ratio)
