"""Writing safetensors files tensor by tensor, with bytes that depend on the content alone."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lora_core.disk import refuse_full_disk, replacing
from lora_core.hub.formats import TensorInfo


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
