"""The safetensors format: reading headers, refusing everything else, and writing tensor by tensor.

Only safetensors is read. A pickle runs code while it is being read, so it is refused by content, whatever its name. The
header is read and checked here, without torch: eight bytes of length, JSON that names dtype, shape and place of every
tensor, data. Source of the format: https://github.com/huggingface/safetensors#format
"""

import json
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_core.bounded import json_of
from lora_core.errors import CheckpointError, UserError
from lora_core.printable import whole_letters
from lora_core.store.files import refuse_full_disk, replacing

_LARGEST_HEADER_BYTES = 100 << 20
_PICKLE_STARTS = (b"\x80\x01", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_LEGACY_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # torch's magic number after the protocol bytes

DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor's bytes are. `start` and `end` count from the first byte after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """A safetensors file without its data: tensors in the order of their data, free-text metadata."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors."""
        return {name: info.shape for name, info in self.tensors.items()}


def read_header(path: Path, name: str, error: type[UserError] = CheckpointError) -> Header:
    """Read and check the header of a safetensors file.

    Args:
        path: where the bytes are.
        name: what the user calls the file, for messages.
        error: the kind of error to raise.

    Raises:
        UserError: (as `error`) the file is a pickle, GGUF, cut off, or its header does not describe its bytes.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            refuse_foreign(file.read(64), name, error)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 10 or length > min(size - 8, _LARGEST_HEADER_BYTES):
                raise error(f"{name}: not a whole safetensors file ({size} bytes); download or copy it again")
            table = json_of(file.read(length))
    except OSError as problem:
        raise error(f"{name}: cannot be read ({problem.strerror})") from problem
    except ValueError:
        raise error(f"{name}: not a safetensors file (its header is not JSON); use a .safetensors file") from None
    try:
        return _checked(table, 8 + length, size)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise error(f"{name}: its safetensors header is wrong ({problem}); download or copy it again") from None


def refuse_foreign(
    start: bytes, name: str, error: type[UserError] = CheckpointError, wanted: str = ".safetensors"
) -> None:
    """Refuse what is no format that is read here, by the first bytes of a file.

    Args:
        start: of the file, 64 bytes or more.
        name: what the user calls it.
        error: the kind of error to raise.
        wanted: the format to get instead.

    Raises:
        UserError: (as `error`) with the reason and what to do.
    """
    if start[4:9] == b"\0\0\0\0{":  # safetensors; the length before it can look like any of the marks below
        return
    if start[:4] == b"PK\x03\x04" or start[:2] in _PICKLE_STARTS or start[2:14] == _LEGACY_TORCH:
        raise error(
            f"{name}: this is a pickle (.ckpt, .pt, .bin), which can run any code when it is read, so it is refused "
            f"whatever its name; get the model as {wanted}, or convert it on a machine that you can lose"
        )
    if start[:4] == b"GGUF":
        raise error(f"{name}: GGUF holds quantized weights that cannot be used; get the model as {wanted}")
    if start[:4] == b"\x89HDF":
        raise error(f"{name}: this is an HDF5 file; get the model as {wanted}")
    if start.startswith(b"version https://git-lfs"):
        raise error(f"{name}: only git-lfs' pointer to the file is here; run `git lfs pull` where it came from")
    if start[:1] == b"<":
        raise error(f"{name}: this is a web page, not a model; the download needs a login or another address")


def _checked(table: Any, data_start: int, size: int) -> Header:
    """The header from its JSON; ValueError and its like tell what is wrong."""
    stated = table.pop("__metadata__", None)
    stated = {} if stated is None else stated  # null, as the reference reader has it
    if not all(isinstance(value, str) for value in stated.values()):
        raise ValueError("metadata must be text")
    metadata = {whole_letters(key): whole_letters(value) for key, value in stated.items()}
    tensors: dict[str, TensorInfo] = {}
    for name, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
        if whole_letters(name) != name:
            raise ValueError("a tensor's name holds half of a letter")
        start, end = entry["data_offsets"]
        info = TensorInfo(str(entry["dtype"]), tuple(int(side) for side in entry["shape"]), int(start), int(end))
        if info.dtype not in DTYPE_BYTES:
            raise ValueError(f"{name} has the unknown dtype {info.dtype}")
        if min(info.shape, default=0) < 0 or math.prod(info.shape) * DTYPE_BYTES[info.dtype] != end - start:
            raise ValueError(f"{name} says shape {list(info.shape)} {info.dtype} but has {end - start} bytes")
        tensors[name] = info
    expected = 0
    for name, info in tensors.items():
        if info.start != expected:
            raise ValueError(f"the bytes of {name} overlap others or leave a gap")
        expected = info.end
    if expected < size - data_start:
        raise ValueError(f"it describes {expected} bytes of data, the file is {size - data_start - expected} longer")
    if expected != size - data_start:
        raise ValueError(f"it describes {expected} bytes of data, the file has {size - data_start}: it is cut off")
    return Header(tensors, metadata, data_start)


def header_bytes(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """The length and the header of a file: metadata sorted, tensors in the order of their data, padded to 8 bytes."""
    table: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, info in tensors.items():
        table[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [info.start, info.end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_safetensors(
    path: Path, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str], data: Iterable[bytes | memoryview]
) -> None:
    """Write a file whole or not at all. While a piece is written, the next one is made.

    Args:
        path: the file.
        tensors: in the order of their data, places without gaps.
        metadata: free text.
        data: the tensors' bytes in that order, in pieces of any size. A piece must stay as it is while the next is
            made; with the one after that its memory can be used again.

    Raises:
        StoreError: the disk is full or not writable.
    """
    header = header_bytes(tensors, metadata)
    size_bytes = len(header) + max((info.end for info in tensors.values()), default=0)
    with replacing(path) as temporary, temporary.open("wb") as file, ThreadPoolExecutor(1) as writer:
        refuse_full_disk(path.parent, size_bytes)
        written = writer.submit(file.write, header)
        for piece in data:
            written.result()
            written = writer.submit(file.write, piece)
        written.result()
