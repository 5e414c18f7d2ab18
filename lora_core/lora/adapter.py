"""LoRA files of every kind that is trained here: plain ones, DoRA, LoHa, LoKr, as LyCORIS names their tensors.

Only what draws reads the other kinds; merging and the other tools read plain LoRAs (`file.py`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lora_core.errors import LoraError
from lora_core.lora.file import LoraFile, add_alpha, read_lora
from lora_core.lora.magnitude import MAGNITUDE, column_norms, decomposed
from lora_core.lora.spool import Spool
from lora_core.lora.tensors import TensorFile

_PLAIN = ("lora_down.weight", "lora_up.weight")
_KINDS = (
    frozenset(_PLAIN),
    frozenset((*_PLAIN, MAGNITUDE)),
    frozenset(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")),
    frozenset(("lokr_w1", "lokr_w2")),
    frozenset(("lokr_w1", "lokr_w2_a", "lokr_w2_b")),
)
_MARKS = ("hada_w1_a", "lokr_w1", MAGNITUDE)
_RANKED = ("lora_down.weight", "hada_w1_b", "lokr_w2_b")
_KEY = re.compile(r"(?P<module>lora_\w+)\.(?P<rest>[\w.]+)")


@dataclass(frozen=True)
class Adapter:
    """One module of a file of any kind."""

    name: str
    alpha: float
    tensors: Mapping[str, torch.Tensor]
    """By what stands behind the module's name: `lora_down.weight`, `hada_w1_a`, `lokr_w1`, `dora_scale` …"""

    @property
    def scale(self) -> float:
        """alpha / rank; 1 for a LoKr of two whole matrices, which has no rank."""
        rank = _rank(self.tensors)
        return self.alpha / rank if rank else 1.0

    def merged(self, weight: torch.Tensor) -> torch.Tensor:
        """What the module makes of the base's weight, in float32 on its device.

        LoHa: (w1_a w1_b) ∘ (w2_a w2_b) (Hyeon-Woo et al. 2021, arXiv:2108.06098). LoKr: w1 ⊗ w2 (Yeh et al. 2023,
        arXiv:2309.14859), w2 = w2_a w2_b where it is not whole.

        Args:
            weight: (out, in) or (out, in, kh, kw).
        """
        weight = weight.float()
        its = {key: tensor.to(weight.device, torch.float32) for key, tensor in self.tensors.items()}
        if "hada_w1_a" in its:
            change = (its["hada_w1_a"] @ its["hada_w1_b"]) * (its["hada_w2_a"] @ its["hada_w2_b"])
        elif "lokr_w1" in its:
            first = its["lokr_w1"]
            second = its["lokr_w2"] if "lokr_w2" in its else its["lokr_w2_a"] @ its["lokr_w2_b"]
            change = torch.kron(first.reshape(*first.shape, *[1] * (second.ndim - 2)), second)
        else:
            change = its["lora_up.weight"].flatten(1) @ its["lora_down.weight"].flatten(1)
        change = change.reshape(weight.shape) * self.scale
        return decomposed(weight, change, its[MAGNITUDE]) if MAGNITUDE in its else weight + change

    def fits(self, weight: torch.Tensor) -> bool:
        """Whether it is made for a weight of that shape."""
        try:
            made = self.merged(torch.empty_like(weight, device="meta"))
        except RuntimeError:
            return False
        lengths = self.tensors.get(MAGNITUDE)
        return made.shape == weight.shape and (lengths is None or lengths.shape == column_norms(made).shape)

    def to(self, device: torch.device) -> "Adapter":
        """The same elsewhere."""
        return Adapter(self.name, self.alpha, {key: each.to(device) for key, each in self.tensors.items()})


@dataclass(frozen=True)
class AdapterFile:
    """A file of another kind than a plain LoRA, in memory."""

    name: str
    """The file's name, for messages."""
    modules: Mapping[str, Adapter]
    metadata: Mapping[str, str]


def write_adapters(path: Path, adapters: Sequence[Adapter], *, dtype: torch.dtype, metadata: Mapping[str, str]) -> None:
    """Write a file of any kind; equal inputs give equal bytes.

    Args:
        path: the file.
        adapters: in any order, all of one kind.
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


def read_any(path: Path, name: str = "") -> LoraFile | AdapterFile:
    """Read a LoRA of any kind that can be attached to a model.

    Args:
        path: where the bytes are.
        name: what the user calls the file; the path if empty.

    Raises:
        LoraError: it is no LoRA of these kinds, or is cut off or incomplete.
    """
    file = TensorFile(path, name)
    if not any(key.endswith(_MARKS) for key in file.header.tensors):
        return read_lora(path, name)
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for key in file.header.tensors:
        if not (found := _KEY.fullmatch(key)):
            raise LoraError(f"{file.name}: has a tensor {key!r}, which belongs to no LoRA; use another file")
        modules.setdefault(found["module"], {})[found["rest"]] = file.read(key)
    made = {module: _adapter(module, tensors, file.name) for module, tensors in modules.items()}
    return AdapterFile(file.name, made, file.header.metadata)


def _adapter(module: str, tensors: dict[str, torch.Tensor], file: str) -> Adapter:
    alpha = tensors.pop("alpha", None)
    if tensors.keys() not in _KINDS:
        raise LoraError(
            f"{file}: {module} has {', '.join(sorted(tensors))}; read are LoRA, DoRA, LoHa and LoKr without decomposed "
            "kernels; use another file"
        )
    return Adapter(module, float(_rank(tensors) if alpha is None else alpha), tensors)


def _rank(tensors: Mapping[str, torch.Tensor]) -> int:
    """Of the product of two narrow matrices; 0 where there is none."""
    return next((tensors[key].shape[0] for key in _RANKED if key in tensors), 0)
