"""LoRA files as sd-scripts writes them: `NAME.alpha`, `NAME.lora_down.weight`, `NAME.lora_up.weight`, and metadata."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open

from lora_core.errors import LoraError
from lora_core.hub.formats import Header, TensorInfo, read_header
from lora_core.hub.stream import header_bytes, write_safetensors

_DTYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32"}
_FLOATS = ("F16", "BF16", "F32", "F64")
_ENDINGS = {".lora_down.weight": "down", ".lora_up.weight": "up", ".lora_mid.weight": "mid", ".alpha": "alpha"}
_OTHER_KINDS = (
    ("hada_w1", "a LoHa"),
    ("lokr_", "a LoKr"),
    ("oft_", "an OFT"),
    ("dora_scale", "a DoRA"),
    ("lora_A", "a LoRA in peft's own naming"),
    ("emb_params", "a textual inversion"),
    ("model.diffusion_model.", "a whole checkpoint"),
    ("down_blocks.", "a part of a diffusers model"),
)
_LEGACY_HASH_START, _LEGACY_HASH_BYTES = 0x100000, 0x10000


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


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file in memory."""

    name: str
    """The file's name, for messages."""
    modules: Mapping[str, LoraModule]
    metadata: Mapping[str, str]


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
    if not layers:
        raise LoraError(f"{path}: there is nothing to write, the LoRA has no layer")
    tensors: dict[str, torch.Tensor] = {}
    for layer in layers:
        tensors[f"{layer.name}.alpha"] = torch.tensor(layer.alpha)
        tensors[f"{layer.name}.lora_down.weight"] = layer.down
        tensors[f"{layer.name}.lora_up.weight"] = layer.up
    data: list[bytes] = []
    infos: dict[str, TensorInfo] = {}
    start = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().to(device="cpu", dtype=dtype).contiguous()
        if not torch.isfinite(tensor).all():
            raise LoraError(f"{path}: {name} is not finite as {dtype}; save in another precision or train more slowly")
        data.append(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        infos[name] = TensorInfo(_DTYPES[dtype], tuple(tensor.shape), start, start + len(data[-1]))
        start += len(data[-1])
    write_safetensors(path, infos, {**metadata, **_sshs_hashes(infos, metadata, data)}, data)


def _sshs_hashes(infos: Mapping[str, TensorInfo], metadata: Mapping[str, str], data: Sequence[bytes]) -> dict[str, str]:
    """The hashes of sd-scripts' `precalculate_safetensors_hashes`, over the file as it is with its `ss_*` keys alone.

    The first is the SHA-256 of the data behind the header, the second the start of the SHA-256 of 64 KiB at 1 MiB.
    """
    plain = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    whole = hashlib.sha256()
    for piece in data:
        whole.update(piece)
    body = b"".join(data)
    begin = max(0, _LEGACY_HASH_START - len(header_bytes(infos, plain)))
    legacy = hashlib.sha256(body[begin : begin + _LEGACY_HASH_BYTES]).hexdigest()[:8]
    return {"sshs_legacy_hash": legacy, "sshs_model_hash": whole.hexdigest()}


def read_lora(path: Path, name: str = "") -> LoraFile:
    """Read a LoRA file; its tensors as they are in the file, on the CPU.

    Args:
        path: where the bytes are.
        name: what the user calls the file; the path if empty.

    Raises:
        LoraError: it is no LoRA of the common kind, is cut off, or a module lacks a half.
    """
    name = name or str(path)
    header = read_header(path, name, LoraError)
    parts = lora_parts(header, name)
    with safe_open(path, framework="pt", device="cpu") as file:
        modules = {module: _module(file.get_tensor, module, set(halves), name) for module, halves in parts.items()}
    return LoraFile(name, modules, header.metadata)


def lora_parts(header: Header, name: str) -> dict[str, dict[str, TensorInfo]]:
    """Module → which of `down`, `up`, `mid`, `alpha` the file has for it.

    Raises:
        LoraError: it is no LoRA of the common kind, or a module lacks a half.
    """
    parts: dict[str, dict[str, TensorInfo]] = {}
    for key, info in header.tensors.items():
        ending = next((ending for ending in _ENDINGS if key.endswith(ending)), None)
        if ending is None or not key.startswith("lora_"):
            what = next(
                (what for mark, what in _OTHER_KINDS if mark in key), f"something else (it has a tensor {key!r})"
            )
            raise LoraError(f"{name}: this is {what}, not a LoRA as sd-scripts and web UIs write it; use such a file")
        if info.dtype not in _FLOATS:
            raise LoraError(f"{name}: {key} is stored as {info.dtype}; a LoRA in fp16, bf16 or fp32 is needed")
        parts.setdefault(key.removesuffix(ending), {})[_ENDINGS[ending]] = info
    if not parts:
        raise LoraError(f"{name}: the file is empty; it holds no LoRA")
    for module, halves in parts.items():
        _check_module(module, halves, name)
    return parts


def _check_module(module: str, halves: Mapping[str, TensorInfo], name: str) -> None:
    if not {"down", "up"} <= set(halves):
        missing = "lora_up" if "down" in halves else "lora_down"
        raise LoraError(f"{name}: {module} has no {missing}.weight; the file is incomplete")
    down, up = halves["down"].shape, halves["up"].shape
    if len(down) not in (2, 4) or len(up) not in (2, 4) or down[0] != up[1] or down[0] == 0:
        raise LoraError(f"{name}: {module}: down {list(down)} and up {list(up)} do not fit each other")
    if "alpha" in halves and math.prod(halves["alpha"].shape) != 1:
        raise LoraError(f"{name}: {module}.alpha has shape {list(halves['alpha'].shape)}, a single number is needed")


def _module(get: Callable[[str], torch.Tensor], module: str, halves: set[str], name: str) -> LoraModule:
    down, up = get(f"{module}.lora_down.weight"), get(f"{module}.lora_up.weight")
    mid = get(f"{module}.lora_mid.weight") if "mid" in halves else None
    alpha = float(get(f"{module}.alpha")) if "alpha" in halves else None
    for tensor in (down, up, *([] if mid is None else [mid])):
        if not torch.isfinite(tensor).all():
            raise LoraError(f"{name}: {module} holds numbers that are not finite; this LoRA is broken, take another")
    return LoraModule(down, up, mid, alpha)
