"""Merging a LoRA into a base model: streamed, in the base's own layout and dtype."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from lora_core.errors import CheckpointError, LoraError, OutputExistsError, StoreError
from lora_core.hub.formats import Header, TensorInfo, read_header
from lora_core.hub.stream import pieces, write_safetensors
from lora_core.lora.file import LoraFile, LoraModule, read_lora
from lora_core.lora.keys import misfit
from lora_core.lora.places import Weight, Weights, find_weights
from lora_core.progress import Progress
from lora_core.store import file_digest, write_atomically

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
_STALE = ("modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash")


def merged_weight(weight: torch.Tensor, module: LoraModule, strength: float) -> torch.Tensor:
    """W + strength · alpha / rank · up · down, computed in float32.

    Args:
        weight: (out, in) or (out, in, kh, kw), any dtype.
        module: the LoRA's down (rank, in, …) and up (out, rank, …).
        strength: 1 for as trained.

    Returns:
        float32, of the weight's shape. The formula is sd-scripts' `merge_to_sd_model`.
    """
    down, up = module.down.to(torch.float32), module.up.to(torch.float32)
    if module.mid is None:
        change = up.flatten(1) @ down.flatten(1)
    else:
        mid = module.mid.to(torch.float32)
        change = torch.einsum("rshw,si,or->oihw", mid, down.flatten(1), up.flatten(1))
    return weight.to(torch.float32) + (strength * module.scale) * change.reshape(weight.shape)


def merge_file(base_files: Mapping[str, Path], lora_path: Path, out: Path, weight: float, progress: Progress) -> None:
    """Merge a LoRA into a base model.

    Memory holds the LoRA and one tensor of the base at a time. Equal inputs give equal bytes.

    Args:
        base_files: the base, relative name → path: one single file, or a diffusers folder's files.
        lora_path: the LoRA.
        out: the file to write, or the folder to make, as the base is.
        weight: strength, 1 for as trained.
        progress: told after every tensor.

    Raises:
        LoraError: the LoRA is not readable, or not every one of its modules fits the base.
        CheckpointError: the base is not readable, or its weights are quantized.
        OutputExistsError: `out` is there with other bytes.
        StoreError: the disk is full or not writable.
    """
    headers = {name: read_header(path, name) for name, path in base_files.items() if _holds_weights(name, base_files)}
    lora = read_lora(lora_path)
    weights = find_weights(headers, base_files)
    changes = _changes(lora, weights)
    note = json.dumps({"lora_sha256": file_digest(lora_path), "weight": weight}, sort_keys=True)
    job = _Job(base_files, headers, lora, weight, note, changes, progress)
    with _workplace(out) as made:
        if len(base_files) == 1:
            job.write(next(iter(headers)), made)
        else:
            for name, path in base_files.items():
                if name in headers:
                    job.write(name, made / name)
                else:
                    write_atomically(made / name, path.read_bytes())
        _settle(made, out)


@contextlib.contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A place beside `out`, on the same disk, that is gone afterwards whatever happens."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp")
    except OSError as error:
        raise StoreError(f"{out.parent}: cannot be written ({error.strerror}); choose another folder") from error
    with folder as temporary:
        yield Path(temporary) / out.name


def _holds_weights(name: str, files: Mapping[str, Path]) -> bool:
    return name.endswith(".safetensors") or len(files) == 1


def _changes(lora: LoraFile, weights: Weights) -> dict[tuple[str, str], list[tuple[str, Weight]]]:
    """By file and tensor, which of the LoRA's modules change it.

    Raises:
        LoraError: a module matches nothing, or a shape does not fit.
    """
    unknown = [name for name in lora.modules if name not in weights.by_name]
    if unknown:
        raise LoraError(misfit(lora.name, unknown, len(lora.modules), weights.architecture))
    changes: dict[tuple[str, str], list[tuple[str, Weight]]] = {}
    for name, module in lora.modules.items():
        where = weights.by_name[name]
        if (module.up.shape[0], module.down.shape[1]) != where.shape[:2]:
            raise LoraError(
                f"{lora.name}: {name} is made for a weight of {module.up.shape[0]}×{module.down.shape[1]}, the base's "
                f"has {'×'.join(map(str, where.shape[:2]))}; the LoRA is for another architecture than this base "
                f"({weights.architecture}); nothing was merged"
            )
        changes.setdefault((where.file, where.place.key), []).append((name, where))
    return changes


class _Job:
    """One merge under way."""

    def __init__(
        self,
        files: Mapping[str, Path],
        headers: Mapping[str, Header],
        lora: LoraFile,
        strength: float,
        note: str,
        changes: Mapping[tuple[str, str], list[tuple[str, Weight]]],
        progress: Progress,
    ) -> None:
        self._files, self._headers, self._lora = files, headers, lora
        self._strength, self._note, self._changes, self._progress = strength, note, changes, progress
        self._done, self._total = 0, sum(len(header.tensors) for header in headers.values())

    def write(self, name: str, out: Path) -> None:
        """Write one file of the base, merged."""
        header = self._headers[name]
        metadata = {key: value for key, value in header.metadata.items() if key not in _STALE}
        if any(file == name for file, _ in self._changes):
            metadata["headcanon.merged"] = self._note
        write_safetensors(out, header.tensors, metadata, self._data(name, header))

    def _data(self, name: str, header: Header) -> Iterator[bytes]:
        for key, info in header.tensors.items():
            raw = pieces(self._files[name], header.data_start + info.start, header.data_start + info.end)
            changes = self._changes.get((name, key))
            if changes:
                yield self._merged(name, key, info, b"".join(raw), changes)
            else:
                yield from raw
            self._done += 1
            self._progress(self._done, self._total, key)

    def _merged(self, name: str, key: str, info: TensorInfo, raw: bytes, changes: list[tuple[str, Weight]]) -> bytes:
        if info.dtype not in _DTYPES:
            raise CheckpointError(f"{name}: {key} is stored as {info.dtype}; use the base's fp16 or fp32 file")
        tensor = torch.frombuffer(bytearray(raw), dtype=_DTYPES[info.dtype]).reshape(info.shape)
        for module, where in changes:
            part = where.place.take(tensor)
            merged = merged_weight(part, self._lora.modules[module], self._strength).to(part.dtype)
            if not torch.isfinite(merged).all():
                raise LoraError(
                    f"{self._lora.name}: merged at weight {self._strength} {key} is not finite as {info.dtype}; "
                    "use a smaller weight or a base in fp32"
                )
            part.copy_(merged)
        return bytes(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())


def _settle(made: Path, out: Path) -> None:
    """Give a finished file or folder its name; equal bytes that are there already are as good.

    Raises:
        OutputExistsError: other bytes are there.
    """
    if not out.exists():
        made.replace(out)
        return
    if _digests(made) != _digests(out):
        raise OutputExistsError(f"{out}: exists with other content and is never overwritten; choose another name")


def _digests(path: Path) -> dict[str, str]:
    if path.is_file():
        return {"": file_digest(path)}
    return {str(file.relative_to(path)): file_digest(file) for file in sorted(path.rglob("*")) if file.is_file()}
