"""A safetensors file whose tensors are made one after another: only the finished ones' places are remembered."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import torch

from lora_core.disk import disk_errors
from lora_core.errors import LoraError
from lora_core.finite import is_finite
from lora_core.hub.formats import TensorInfo
from lora_core.hub.stream import header_bytes, write_safetensors
from lora_core.lora.tensors import DTYPE_NAMES

_MEMORY_BYTES = 64 << 20
_PIECE_BYTES = 4 << 20
_LEGACY_HASH_START, _LEGACY_HASH_BYTES = 0x100000, 0x10000


class Spool:
    """Tensors go in one by one, then the file is written.

    A file's header comes before its data but is known only after it, so the data waits: in memory while there is
    little of it, behind that in a nameless file on the same disk.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        """Start a file.

        Args:
            path: where `write` will write it.
            name: what the user calls it; the path if empty.

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

        The first is the SHA-256 of the data behind the header, the second the start of the SHA-256 of 64 KiB at 1 MiB.
        """
        plain = {key: value for key, value in metadata.items() if key.startswith("ss_")}
        self._body.seek(max(0, _LEGACY_HASH_START - len(header_bytes(self._infos, plain))))
        legacy = hashlib.sha256(self._body.read(_LEGACY_HASH_BYTES)).hexdigest()[:8]
        return {"sshs_legacy_hash": legacy, "sshs_model_hash": self._hash.hexdigest()}
