"""Tensors out of safetensors files, one at a time: memory holds what was asked for and nothing of the rest."""

from collections.abc import Mapping
from pathlib import Path

import torch

from lora_core.errors import LoraError, UserError
from lora_core.finite import is_finite, not_finite
from lora_core.hub.formats import read_header

FLOATS: Mapping[str, torch.dtype] = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""The dtypes that are computed with, by their names in a file. fp8 and integers hold quantized weights."""
DTYPE_NAMES: Mapping[torch.dtype, str] = {dtype: name for name, dtype in FLOATS.items()}


class TensorFile:
    """A safetensors file that is read tensor by tensor. Its header was checked against the file's size."""

    def __init__(self, path: Path, name: str = "", error: type[UserError] = LoraError) -> None:
        """Read the header.

        Args:
            path: where the bytes are.
            name: what the user calls the file; the path if empty.
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
        info = self.header.tensors[key]
        if info.dtype not in FLOATS:
            raise self._error(f"{self.name}: {key} is stored as {info.dtype}; get the file in fp16, bf16 or fp32")
        data = bytearray(info.end - info.start)
        with self.path.open("rb") as file:
            file.seek(self.header.data_start + info.start)
            if file.readinto(data) != len(data):
                raise self._error(f"{self.name}: was changed while it was read; run the same command again")
        dtype = FLOATS[info.dtype]
        flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if not is_finite(flat):
            raise self._error(not_finite(self.name, key))
        return flat.reshape(info.shape)
