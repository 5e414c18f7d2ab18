"""A finished LoRA that acts on a base model in memory, without changing its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from lora_core.errors import LoraError
from lora_core.lora.base import Base, attachable_names
from lora_core.lora.file import LoraFile, read_lora
from lora_core.lora.module import LoraModule, kind_of
from lora_core.lora.naming import BIAS, TEXT_PARTS, misfit


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
    """Name of a LoRA's module → the base's layer.

    Raises:
        LoraError: a name or a shape does not fit.
    """
    models = [("unet", components.unet), *zip(TEXT_PARTS, components.text_encoders, strict=False)]
    modules = {
        name + end: layer
        for part, model in models
        for name, path in attachable_names(components, part, norms=True).items()
        for end, layer in dict.fromkeys(("", BIAS), model.get_submodule(path)).items()
        if getattr(layer, _parameter(end)) is not None
    }
    if unknown := [name for name in file.modules if name not in modules]:
        raise LoraError(misfit(file.name, unknown, len(file.modules), components.architecture))
    for name, lora in file.modules.items():
        shape = modules[name].get_parameter(_parameter(name)).shape
        if made_for := lora.misfit(shape):
            raise LoraError(
                f"{file.name}: {name} is made for a weight of {made_for}, the base's has {'×'.join(map(str, shape))}; "
                f"it is for another architecture than this base ({components.architecture})"
            )
    return {name: modules[name] for name in file.modules}


def _parameter(name: str) -> str:
    """Which of a layer's parameters a LoRA's module changes."""
    return "bias" if name.endswith(BIAS) else "weight"


class _Change:
    """A forward hook that adds what a changed weight or bias would add: for kinds that are no product of two matrices.

    Every layer's output is linear in both, so what the change alone gives is added.
    """

    def __init__(self, module: nn.Module, lora: LoraModule, attached: _Attached) -> None:
        self._attached = attached
        self._parameter = "bias" if kind_of(lora.tensors) == "bias" else "weight"
        self._lora = lora.to(module.get_parameter(self._parameter).device)

    def __call__(self, module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        now = module.get_parameter(self._parameter)
        change = (self._lora.merged(now, self._attached.weight) - now).to(now.dtype)
        channels_first = isinstance(module, nn.Conv2d | nn.GroupNorm)
        if self._parameter == "bias":
            return output + (change.reshape(-1, *(1 for _ in output.shape[2:])) if channels_first else change)
        if isinstance(module, nn.Conv2d):
            return output + functional.conv2d(args[0], change, None, module.stride, module.padding, module.dilation)
        if isinstance(module, nn.GroupNorm):
            return output + functional.group_norm(args[0], module.num_groups, change, None, module.eps)
        if isinstance(module, nn.LayerNorm):
            return output + functional.layer_norm(args[0], module.normalized_shape, change, None, module.eps)
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
