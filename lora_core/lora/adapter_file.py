"""LoRA files of every kind: read whole or module by module, and written, as LyCORIS names their tensors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lora_core.errors import LoraError
from lora_core.hub.formats import Header
from lora_core.lora.adapter import Adapter
from lora_core.lora.file import LoraFile, OpenLora, add_alpha, refuse_dead
from lora_core.lora.keys import lora_architecture
from lora_core.lora.kinds import kind_of, rank_of
from lora_core.lora.magnitude import MAGNITUDE
from lora_core.lora.spool import Spool
from lora_core.lora.tensors import FLOATS, TensorFile

_MARKS = (".hada_w1_a", ".lokr_w1", ".lokr_w1_a", f".{MAGNITUDE}")
_KEY = re.compile(r"(?P<module>lora_\w+)\.(?P<rest>[\w.]+)")


@dataclass(frozen=True)
class AdapterFile:
    """A file of another kind than a plain LoRA, in memory."""

    name: str
    """The file's name, for messages."""
    modules: Mapping[str, Adapter]
    metadata: Mapping[str, str]


class OpenAdapters:
    """A file of another kind than a plain LoRA, read module by module. Only its header and its alphas are held."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Read the header and the alphas.

        Args:
            path: where the bytes are.
            name: what the user calls the file; the path if empty.

        Raises:
            LoraError: it is no LoRA of these kinds, is cut off, a module lacks a tensor or has an alpha of zero.
        """
        self._file = TensorFile(path, name)
        self.path, self.name = path, self._file.name
        self.metadata: Mapping[str, str] = self._file.header.metadata
        self.parts = {module: self._adapter(module, keys) for module, keys in self._modules().items()}
        """LoRA name → the module without its numbers: its tensors are on the meta device."""
        refuse_dead(self.name, {module: each.alpha for module, each in self.parts.items() if each.rank})

    @property
    def architecture(self) -> str:
        """What it was trained on, as `keys.lora_architecture` tells it."""
        return lora_architecture({module: each.sides[1] for module, each in self.parts.items()}, self.metadata)

    @property
    def dtypes(self) -> set[str]:
        """Of its matrices, by their names in the file."""
        return {info.dtype for key, info in self._file.header.tensors.items() if not key.endswith(".alpha")}

    @property
    def words(self) -> str:
        """Its kinds, for messages."""
        return " and ".join(sorted({each.words for each in self.parts.values()}))

    def misfit(self, module: str, shape: Sequence[int]) -> str:
        """The shape that a module is made for if not for this one, in words; else empty."""
        return self.parts[module].misfit(shape)

    def read(self, module: str) -> Adapter:
        """One module; its tensors as they are in the file, on the CPU.

        Raises:
            LoraError: its numbers are not finite.
        """
        adapter = self.parts[module]
        return Adapter(module, adapter.alpha, {key: self._file.read(f"{module}.{key}") for key in adapter.tensors})

    def whole(self) -> AdapterFile:
        """The file in memory; errors as `read`."""
        return AdapterFile(self.name, {module: self.read(module) for module in self.parts}, self.metadata)

    def _modules(self) -> dict[str, dict[str, str]]:
        """Module → what is behind its name → key."""
        modules: dict[str, dict[str, str]] = {}
        for key in self._file.header.tensors:
            if not (found := _KEY.fullmatch(key)):
                raise LoraError(f"{self.name}: has a tensor {key!r}, which belongs to no LoRA; use another file")
            modules.setdefault(found["module"], {})[found["rest"]] = key
        return modules

    def _adapter(self, module: str, keys: dict[str, str]) -> Adapter:
        infos = self._file.header.tensors
        if wrong := [key for key in keys.values() if infos[key].dtype not in FLOATS]:
            raise LoraError(
                f"{self.name}: {wrong[0]} is stored as {infos[wrong[0]].dtype}; a LoRA in fp16, bf16 or fp32 is needed"
            )
        tensors = {rest: torch.empty(infos[key].shape, device="meta") for rest, key in keys.items() if rest != "alpha"}
        if kind_of(tensors) is None:
            raise LoraError(
                f"{self.name}: {module} has {', '.join(sorted(tensors)) or 'nothing but alpha'}; read are whole LoRAs, "
                "DoRAs, LoHas and LoKrs; take another copy of the file or another LoRA"
            )
        adapter = Adapter(module, self._alpha(keys, tensors), tensors)
        try:
            _ = adapter.sides
        except (RuntimeError, IndexError):
            shapes = ", ".join(f"{key} {list(each.shape)}" for key, each in sorted(tensors.items()))
            raise LoraError(f"{self.name}: {module}: {shapes} do not fit each other; the file is broken") from None
        return adapter

    def _alpha(self, keys: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> float:
        if "alpha" not in keys:
            return float(rank_of(tensors))
        alpha = self._file.read(keys["alpha"])
        if alpha.numel() != 1:
            raise LoraError(f"{self.name}: {keys['alpha']} has shape {list(alpha.shape)}, a single number is needed")
        return float(alpha)


OpenAny = OpenLora | OpenAdapters


def open_any(path: Path, name: str = "") -> OpenAny:
    """Open a LoRA of any kind, to be read module by module.

    Args:
        path: where the bytes are.
        name: what the user calls the file; the path if empty.

    Raises:
        LoraError: it is no LoRA of these kinds, or is cut off or incomplete.
    """
    return OpenAdapters(path, name) if is_marked(TensorFile(path, name).header) else OpenLora(path, name)


def is_marked(header: Header) -> bool:
    """Whether a file has modules of another kind than a plain LoRA's, in the naming that web UIs read."""
    return any(key.endswith(_MARKS) for key in header.tensors)


def read_any(path: Path, name: str = "") -> LoraFile | AdapterFile:
    """Read a LoRA of any kind whole; arguments and errors as `open_any`."""
    return open_any(path, name).whole()


def write_adapters(path: Path, adapters: Sequence[Adapter], *, dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
    """Write a file of any kind; equal inputs give equal bytes.

    Args:
        path: the file.
        adapters: in any order.
        dtype: of the file: float16, bfloat16 or float32.
        metadata: text by key; the two `sshs_*` hashes that web UIs know files by are added.

    Raises:
        LoraError: there is no module, or a weight is not finite in that dtype.
        StoreError: the disk is full or not writable.
    """
    with Spool(path) as spool:
        for adapter in sorted(adapters, key=lambda each: each.name):
            add_alpha(spool, adapter.name, adapter.alpha, dtype)
            for key, tensor in sorted(adapter.tensors.items()):
                spool.add(f"{adapter.name}.{key}", tensor.detach().to(device="cpu", dtype=dtype))
        spool.write(metadata, hashes=True)
