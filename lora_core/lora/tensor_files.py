"""Safetensors files, read and written one tensor at a time, and named only when they are whole."""

import contextlib
import glob
import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import torch

from lora_core.errors import LoraError, OutputExistsError, UserError
from lora_core.finite_check import is_finite, not_finite
from lora_core.hub.formats import TensorInfo, header_bytes, read_header, write_safetensors
from lora_core.store.digests import file_digest
from lora_core.store.files import disk_errors, move, remove_leftovers, temporary_name

FLOATS: Mapping[str, torch.dtype] = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The dtypes that are computed with, by their names in a file. fp8 and integers hold quantized weights."""
DTYPE_NAMES: Mapping[torch.dtype, str] = {dtype: name for name, dtype in FLOATS.items()}
_NUMBERS: Mapping[str, torch.dtype] = {
    **FLOATS,
    **{f"I{bits}": getattr(torch, f"int{bits}") for bits in (8, 16, 32, 64)},
    "U8": torch.uint8,
}
_MEMORY_BYTES = 64 << 20
_PIECE_BYTES = 4 << 20
_LEGACY_HASH_START, _LEGACY_HASH_BYTES = 0x100000, 0x10000


class TensorFile:
    """A safetensors file that is read tensor by tensor. Its header was checked against the file's size."""

    def __init__(self, path: Path, name: str = "", error: type[UserError] = LoraError) -> None:
        """Read the header.

        Args:
            path: where the bytes are.
            name: the name in messages; the path if empty.
            error: the kind of error to raise.

        Raises:
            UserError: (as `error`) it is no whole safetensors file.
        """
        self.path, self.name, self._error = path, name or str(path), error
        self.header = read_header(path, self.name, error)

    def read(self, key: str) -> torch.Tensor:
        """A tensor as it is in the file, in memory of its own.

        Raises:
            UserError: (as `error`) it is stored as anything but `FLOATS`, one of its numbers is not finite, or the
                file has changed since its header was read.
        """
        return self._read(key, FLOATS, "get the file in fp16, bf16 or fp32")

    def number(self, key: str) -> float:
        """A tensor of a single number, float or integer; errors as `read`."""
        shape = self.header.tensors[key].shape
        if math.prod(shape) != 1:
            raise self._error(f"{self.name}: {key} has shape {list(shape)}, a single number is needed")
        return float(self._read(key, _NUMBERS, "a plain number is needed"))

    def _read(self, key: str, dtypes: Mapping[str, torch.dtype], advice: str) -> torch.Tensor:
        info = self.header.tensors[key]
        if info.dtype not in dtypes:
            raise self._error(f"{self.name}: {key} is stored as {info.dtype}; {advice}")
        data = bytearray(info.end - info.start)
        with self.path.open("rb") as file:
            file.seek(self.header.data_start + info.start)
            if file.readinto(data) != len(data):
                raise self._error(f"{self.name}: was changed while it was read; run the same command again")
        dtype = dtypes[info.dtype]
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if not is_finite(flat):
            raise self._error(not_finite(self.name, key))
        return flat.reshape(info.shape)


class SafetensorsWriter:
    """A safetensors file whose tensors are made one after another; memory holds only where each lies.

    A file's header comes before its data but is known only after it, so the data waits: in memory while there is
    little of it, then in a nameless file on the same disk.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        """Start a file.

        Args:
            path: where `write` will write it.
            name: the name in messages; the path if empty.

        Raises:
            StoreError: the folder cannot be written.
        """
        self._path, self._name = path, name or str(path)
        self._infos: dict[str, TensorInfo] = {}
        self._size_bytes = 0
        self._hash = hashlib.sha256()
        with disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._body: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY_BYTES, dir=str(path.parent))  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._body.close()

    def add(self, key: str, tensor: torch.Tensor) -> None:
        """Put a tensor at the end, in its own dtype.

        Raises:
            LoraError: it is not finite.
            StoreError: the disk is full.
        """
        dtype = DTYPE_NAMES[tensor.dtype]
        if not is_finite(tensor):
            raise LoraError(
                f"{self._name}: {key} is not finite as {dtype}; save in another precision (bf16, fp32), and if it is "
                "not finite there either, train more slowly"
            )
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        start, self._size_bytes = self._size_bytes, self._size_bytes + len(data)
        self._infos[key] = TensorInfo(dtype, tuple(tensor.shape), start, self._size_bytes)
        self._hash.update(data)
        with disk_errors(self._path.parent):
            self._body.write(data)

    def write(self, metadata: Mapping[str, str], *, hashes: bool) -> None:
        """Write the file, whole or not at all.

        Args:
            metadata: free text.
            hashes: whether to add the two `sshs_*` hashes that web UIs know LoRA files by.

        Raises:
            LoraError: nothing was put into it.
            StoreError: the disk is full or not writable.
        """
        if not self._infos:
            raise LoraError(f"{self._name}: there is nothing to write, the LoRA has no layer")
        if hashes:
            metadata = {**metadata, **self._sshs_hashes(metadata)}
        write_safetensors(self._path, self._infos, metadata, self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        self._body.seek(0)
        while piece := self._body.read(_PIECE_BYTES):
            yield piece

    def _sshs_hashes(self, metadata: Mapping[str, str]) -> dict[str, str]:
        """sd-scripts' `precalculate_safetensors_hashes`, over the file as it is with its `ss_*` keys alone.

        The first is the SHA-256 of the data after the header, the second the start of the SHA-256 of 64 KiB at 1 MiB.
        """
        plain = {key: value for key, value in metadata.items() if key.startswith("ss_")}
        self._body.seek(max(0, _LEGACY_HASH_START - len(header_bytes(self._infos, plain))))
        legacy = hashlib.sha256(self._body.read(_LEGACY_HASH_BYTES)).hexdigest()[:8]
        return {"sshs_legacy_hash": legacy, "sshs_model_hash": self._hash.hexdigest()}


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def new_output(out: Path) -> Iterator[Path]:
    """A temporary path on the disk of `out`, for a file or a folder; what the block makes there then gets the name.

    If the block fails, nothing stays. Equal bytes that have the name already are as good.

    Raises:
        OutputExistsError: other bytes have the name.
        StoreError: the disk is full or not writable.
    """
    with disk_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(out.parent, f".{glob.escape(out.name)}.*.tmp")
        temporary = temporary_name(out)
        temporary.mkdir()
    try:
        made = temporary / out.name
        yield made
        if not out.exists():
            move(made, out)
        elif _digests(made) != _digests(out):
            raise _taken(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _taken(out: Path) -> OutputExistsError:
    """The error for a name that other bytes have."""
    return OutputExistsError(f"{out}: exists with other content and is never overwritten; choose another name")


def refuse_existing(out: Path, key: str, note: str) -> None:
    """Refuse a taken name before the work and not after it, unless the file there was made from the same.

    Args:
        out: the file to be made.
        key: of its metadata.
        note: the text that will stand there.

    Raises:
        OutputExistsError: something else has the name.
    """
    if not out.exists():
        return
    try:
        metadata: Mapping[str, str] = read_header(out, str(out)).metadata if out.is_file() else {}
    except UserError:
        metadata = {}
    if metadata.get(key) != note:
        raise _taken(out)


def note(**facts: Any) -> str:
    """How a file was made, as text for its metadata."""
    return json.dumps(facts, sort_keys=True)


def _digests(path: Path) -> dict[str, str]:
    if path.is_file():
        return {"": file_digest(path)}
    return {str(file.relative_to(path)): file_digest(file) for file in sorted(path.rglob("*")) if file.is_file()}
