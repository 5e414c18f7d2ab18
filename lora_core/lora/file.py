"""LoRA files: read whole or module by module, written as sd-scripts writes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from lora_core.errors import LoraError
from lora_core.lora.keys import lora_architecture
from lora_core.lora.parts import input_widths, lora_parts
from lora_core.lora.spool import Spool
from lora_core.lora.tensors import TensorFile


class Layer(Protocol):
    """What `write_lora` needs of a layer; `inject.LoraLayer` is one."""

    @property
    def name(self) -> str:
        """Module name in the file."""

    @property
    def down(self) -> torch.Tensor:
        """(rank, in, …)."""

    @property
    def up(self) -> torch.Tensor:
        """(out, rank, …)."""

    @property
    def alpha(self) -> float:
        """Scale times rank."""


@dataclass(frozen=True)
class LoraModule:
    """One module of a LoRA file."""

    down: torch.Tensor
    up: torch.Tensor
    mid: torch.Tensor | None
    """(rank, rank, kh, kw), only in files with decomposed convolutions."""
    alpha: float | None
    """None: the file has none, which means the rank."""

    @property
    def rank(self) -> int:
        """Rows of `down`."""
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """alpha / rank, the factor on up · down."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    @property
    def dtype(self) -> torch.dtype:
        """One that holds all its matrices as they are."""
        widest = torch.promote_types(self.down.dtype, self.up.dtype)
        return widest if self.mid is None else torch.promote_types(widest, self.mid.dtype)

    def to(self, dtype: torch.dtype) -> "LoraModule":
        """The same in another dtype."""
        mid = None if self.mid is None else self.mid.to(dtype)
        return LoraModule(self.down.to(dtype), self.up.to(dtype), mid, self.alpha)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file in memory."""

    name: str
    """The file's name, for messages."""
    modules: Mapping[str, LoraModule]
    metadata: Mapping[str, str]


class OpenLora:
    """A LoRA file that is read module by module. Only its header and its alphas are held."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Read the header and the alphas.

        Args:
            path: where the bytes are.
            name: what the user calls the file; the path if empty.

        Raises:
            LoraError: it is no LoRA of the common kind, is cut off, a module lacks a half or has an alpha of zero.
        """
        self._file = TensorFile(path, name)
        self.path, self.name = path, self._file.name
        self.metadata: Mapping[str, str] = self._file.header.metadata
        self.parts = lora_parts(self._file.header, self.name)
        """LoRA name → what the header says of the module."""
        self.alphas = {module: self._alpha(module) for module in self.parts}
        refuse_dead(self.name, self.alphas)

    @property
    def architecture(self) -> str:
        """What it was trained on, as `keys.lora_architecture` tells it."""
        return lora_architecture(input_widths(self.parts), self.metadata)

    @property
    def dtypes(self) -> set[str]:
        """Of its matrices, by their names in the file."""
        return {part.infos[half].dtype for part in self.parts.values() for half in ("down", "up")}

    def misfit(self, module: str, shape: Sequence[int]) -> str:
        """The shape that a module is made for if not for this one, in words; else empty."""
        own = self.parts[module].shape
        if own[:2] == tuple(shape[:2]) and math.prod(own) == math.prod(shape):
            return ""
        return "×".join(map(str, own))

    def read(self, module: str) -> LoraModule:
        """One module; its tensors as they are in the file, on the CPU.

        Raises:
            LoraError: its numbers are not finite.
        """
        keys = self.parts[module].keys
        mid = self._file.read(keys["mid"]) if "mid" in keys else None
        return LoraModule(self._file.read(keys["down"]), self._file.read(keys["up"]), mid, self.alphas[module])

    def whole(self) -> LoraFile:
        """The file in memory; errors as `read`."""
        return LoraFile(self.name, {module: self.read(module) for module in self.parts}, self.metadata)

    def _alpha(self, module: str) -> float | None:
        part = self.parts[module]
        return float(self._file.read(part.keys["alpha"])) if "alpha" in part.keys else part.alpha


def refuse_dead(name: str, alphas: Mapping[str, float | None]) -> None:
    """Refuse a file whose modules would do nothing.

    Raises:
        LoraError: an alpha is 0.
    """
    if dead := [module for module, alpha in alphas.items() if alpha == 0]:
        raise LoraError(
            f"{name}: alpha is 0 in {len(dead)} of its {len(alphas)} modules (such as {dead[0]}), so they would do "
            "nothing; train it again with an alpha above 0, or take another"
        )


def read_lora(path: Path, name: str = "") -> LoraFile:
    """Read a LoRA file; its tensors as they are in the file, on the CPU.

    Args:
        path: where the bytes are.
        name: what the user calls the file; the path if empty.

    Raises:
        LoraError: it is no LoRA of the common kind, is cut off, a module lacks a half or has an alpha of zero.
    """
    return OpenLora(path, name).whole()


def write_lora(path: Path, layers: Sequence[Layer], *, dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
    """Write a LoRA file; equal inputs give equal bytes.

    Args:
        path: the file.
        layers: in any order.
        dtype: of the file: float16, bfloat16 or float32.
        metadata: text by key; the two `sshs_*` hashes that web UIs know files by are added.

    Raises:
        LoraError: there is no layer, or a weight is not finite in that dtype.
        StoreError: the disk is full or not writable.
    """
    with Spool(path) as spool:
        for layer in sorted(layers, key=lambda layer: layer.name):
            add_module(spool, layer.name, LoraModule(layer.down, layer.up, None, layer.alpha), dtype)
        spool.write(metadata, hashes=True)


def add_module(spool: Spool, name: str, module: LoraModule, dtype: torch.dtype) -> None:
    """Put a module into a file under way, in sd-scripts' naming. Modules come in the order of their names.

    Raises:
        LoraError: a weight is not finite in that dtype.
        StoreError: the disk is full or not writable.
    """
    if module.alpha is not None:
        add_alpha(spool, name, module.alpha, dtype)
    spool.add(f"{name}.lora_down.weight", module.down.detach().to(device="cpu", dtype=dtype))
    if module.mid is not None:
        spool.add(f"{name}.lora_mid.weight", module.mid.detach().to(device="cpu", dtype=dtype))
    spool.add(f"{name}.lora_up.weight", module.up.detach().to(device="cpu", dtype=dtype))


def add_alpha(spool: Spool, name: str, alpha: float, dtype: torch.dtype) -> None:
    """Put a module's alpha into a file under way: in float32 if the file's dtype would round it."""
    exact = torch.tensor(alpha, dtype=torch.float64)
    spool.add(f"{name}.alpha", exact.to(dtype if exact.to(dtype) == exact else torch.float32))
