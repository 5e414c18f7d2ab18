"""Checkpoints on disk: the weights that a LoRA can change, unread, and the difference of two of them as a LoRA."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import torch

from lora_core.bounded import TEXT_BYTES, json_of, read_bounded
from lora_core.errors import CheckpointError, LoraError
from lora_core.hub.detect import Architecture
from lora_core.hub.formats import Header, TensorInfo
from lora_core.hub.layout import OriginalLayout, Part, Place, read_layout
from lora_core.lora.algebra import Size, factored
from lora_core.lora.combine import PRECISIONS, LoraSummary
from lora_core.lora.file import add_module
from lora_core.lora.metadata import MADE, RankCounts, of_difference
from lora_core.lora.naming import BIAS, TEXT_PARTS, Build, Module, file_names, module_table, modules_of, same_name
from lora_core.lora.tensor_files import SafetensorsWriter, TensorFile, new_output, note, refuse_existing
from lora_core.progress import Progress
from lora_core.store.digests import file_digest


@dataclass(frozen=True)
class Weight:
    """A weight in one of the base's files."""

    file: str
    place: Place
    shape: tuple[int, ...]
    """Of the model's tensor, not of the file's."""


@dataclass(frozen=True)
class Weights:
    """Every weight and bias of a base that a file can change."""

    architecture: Architecture
    by_name: Mapping[str, Weight]


def find_weights(headers: Mapping[str, Header], files: Mapping[str, Path]) -> Weights:
    """Find the weights by the base's headers alone.

    Args:
        headers: of every safetensors file of the base, by its name.
        files: all the base's files, name → path, for a folder's configs.

    Raises:
        CheckpointError: it is no Stable Diffusion 1, 2 or XL base.
    """
    if len(headers) == 1 and "/" not in (name := next(iter(headers))):
        layout = read_layout(headers[name].shapes, name)
        return Weights(layout.architecture, dict(_in_single_file(name, headers[name].tensors, layout)))
    return _in_folder(headers, files)


def _in_single_file(
    name: str, tensors: Mapping[str, TensorInfo], layout: OriginalLayout
) -> Iterator[tuple[str, Weight]]:
    """Try every module that the layout may have; the file has those whose tensors are there."""
    layers = _count(r"\.(?:encoder\.layers|transformer\.resblocks)\.(\d+)\.", tensors)
    depth = _count(r"\.transformer_blocks\.(\d+)\.", tensors)
    build = Build(layout.layers, layout.up_attention, depth, (layers,) * len(layout.text_encoders))
    for module, (parameter, end) in product(modules_of(build), _PARAMETERS.items()):
        place = layout.place(module.part, module.path + parameter)
        if place.key in tensors and tensors[place.key].shape:
            rows, *rest = tensors[place.key].shape
            weight = Weight(name, place, (rows if place.third is None else rows // 3, *rest))
            yield from ((lora + end, weight) for lora in file_names(layout.architecture, module, build))


_PARAMETERS = {".weight": "", ".bias": BIAS}
"""The end of a tensor's name → what follows the layer's name in that of the module that changes it."""


def _count(pattern: str, tensors: Mapping[str, TensorInfo]) -> int:
    """How many numbers a pattern finds in the tensors' names; counted, since a name may hold any number."""
    return len({found[1] for key in tensors if (found := re.search(pattern, key))})


def _in_folder(headers: Mapping[str, Header], files: Mapping[str, Path]) -> Weights:
    if "unet/config.json" not in files:
        raise CheckpointError("base model: unet/config.json is missing; it is no whole diffusers folder")
    try:
        config = json_of(read_bounded(files["unet/config.json"], TEXT_BYTES, CheckpointError))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"base model: unet/config.json is not readable JSON ({error})") from None
    if not isinstance(config, dict):
        raise CheckpointError("base model: unet/config.json is not a JSON object")
    two = any(name.startswith("text_encoder_2/") for name in headers)
    architecture: Architecture = "sdxl" if two else "sd2" if config.get("use_linear_projection") else "sd1"
    build = Build(
        config.get("layers_per_block", 2), tuple("CrossAttn" in kind for kind in config.get("up_block_types", ()))
    )
    parts: tuple[Part, ...] = ("unet", *TEXT_PARTS)
    by_name: dict[str, Weight] = {}
    for file, header in headers.items():
        part = next((part for part in parts if file.startswith(f"{part}/")), None)
        for key, info in header.tensors.items() if part else ():
            path, dot, parameter = key.rpartition(".")
            if part and (end := _PARAMETERS.get(dot + parameter)) is not None and "embeddings." not in path:
                weight = Weight(file, Place(key), info.shape)
                by_name |= {name + end: weight for name in _names(architecture, Module(part, path), build)}
    return Weights(architecture, by_name)


def _names(architecture: Architecture, module: Module, build: Build) -> tuple[str, ...]:
    """The names in use for a module; none where a LoRA never touches it."""
    try:
        return file_names(architecture, module, build)
    except KeyError:
        return ()


# ── the difference of two ─────────────────────────────────────────────────────────────────────────────────────────────

_KERNEL_BLOCKS = ("resnets", "downsamplers", "upsamplers")


@dataclass(frozen=True)
class Extraction:
    """How large the LoRA is to be."""

    size: Size
    """Of linear layers and 1×1 convolutions; its rank is set."""
    conv_rank: int = 0
    """Of larger convolutions; 0 leaves the residual blocks out, as most LoRAs do."""


class Checkpoint:
    """A base model's open files, and the places of its weights in them."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Read the headers.

        Args:
            files: relative name → path: one single file, or a diffusers folder's files.

        Raises:
            CheckpointError: it is no Stable Diffusion 1, 2 or XL base.
        """
        self._files = {
            name: TensorFile(path, name, CheckpointError)
            for name, path in files.items()
            if name.endswith(".safetensors") or len(files) == 1
        }
        self.name = next(iter(files)) if len(files) == 1 else "the folder"
        headers: dict[str, Header] = {name: file.header for name, file in self._files.items()}
        self.weights: Weights = find_weights(headers, files)

    def read(self, weight: Weight) -> torch.Tensor:
        """A weight in float32, as the model has it.

        Raises:
            CheckpointError: it is quantized, or one of its numbers is not finite.
        """
        return weight.place.take(self._files[weight.file].read(weight.place.key)).to(torch.float32)

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file with weights, by its name in a folder; a single file has none."""
        if len(self._files) == 1:
            return {"": file_digest(next(iter(self._files.values())).path)}
        return {name: file_digest(file.path) for name, file in self._files.items()}


def extract(
    base_files: Mapping[str, Path], tuned_files: Mapping[str, Path], out: Path, extraction: Extraction,
    precision: str, progress: Progress,
) -> LoraSummary:  # fmt: skip
    """Write the LoRA that turns a base into a fine-tuned model, as near as the rank allows.

    Memory holds one weight of each checkpoint. Weights that are equal in both get no module. What no LoRA can hold
    (norms, biases, embeddings, the VAE) is left out, so a model that differs there is not wholly reproduced.

    Args:
        base_files: the base, relative name → path.
        tuned_files: the fine-tuned model, likewise; the layout may be the other one.
        out: the file to write.
        extraction: the ranks.
        precision: "fp16", "bf16", "fp32", or "auto" for fp16.
        progress: called after every weight.

    Raises:
        CheckpointError: one of them is not readable, or they are not of one architecture.
        LoraError: there is no difference.
        OutputExistsError: `out` is there with other bytes.
        StoreError: the disk is full or not writable.
    """
    base, tuned = Checkpoint(base_files), Checkpoint(tuned_files)
    names = _shared(base, tuned, extraction)
    digests = base.digests()
    made = note(
        how="extract",
        base_sha256=digests,
        tuned_sha256=tuned.digests(),
        rank=extraction.size.rank,
        conv_rank=extraction.conv_rank,
        energy=extraction.size.energy,
    )
    refuse_existing(out, MADE, made)
    ranks, kept, total = RankCounts(), 0.0, 0.0
    with new_output(out) as path, SafetensorsWriter(path, str(out)) as writer:
        for done, name in enumerate(names, 1):
            change = tuned.read(tuned.weights.by_name[name]) - base.read(base.weights.by_name[name])
            if change.count_nonzero():
                found = factored(change, _size(extraction, change.shape[2:]))
                add_module(writer, name, found.module, PRECISIONS.get(precision, torch.float16))
                ranks.add(found.module)
                kept, total = kept + found.kept, total + found.total
            progress(done, len(names), name)
        if not total:
            raise LoraError("the two models have the same weights wherever a LoRA acts; there is nothing to extract")
        named = {"ss_sd_model_name": base.name, "ss_new_sd_model_hash": digests[""]} if "" in digests else {}
        metadata = of_difference(base.weights.architecture, named, out.stem, ranks, made)
        writer.write(metadata, hashes=True)
    return LoraSummary(ranks.modules, ranks.ranks, kept / total, _differing_vectors(base, tuned))


def _differing_vectors(base: Checkpoint, tuned: Checkpoint) -> int:
    """Norms and biases that are not the same in both; one that goes by several names is counted once."""
    others = tuned.weights.by_name
    pairs = {
        (one.file, one.place): (one, others[name])
        for name, one in base.weights.by_name.items()
        if len(one.shape) == 1 and name in others
    }
    return sum(not torch.equal(base.read(one), tuned.read(other)) for one, other in pairs.values())


def _shared(base: Checkpoint, tuned: Checkpoint, extraction: Extraction) -> list[str]:
    """Every module to be made, in order, by the name that sd-scripts gives it.

    A name that only one of them has is SD2's last text layer, which diffusers' folders leave out and nothing reads.

    Raises:
        CheckpointError: the two are not of one architecture.
    """
    one, other = base.weights, tuned.weights
    if one.architecture != other.architecture:
        raise CheckpointError(
            f"{base.name} is {one.architecture}, {tuned.name} is {other.architecture}; two models of one architecture "
            "are needed"
        )
    names = [name for name in sorted(one.by_name) if name in other.by_name and _is_wanted(name, one, extraction)]
    for name in names:
        shapes = one.by_name[name].shape[:2], other.by_name[name].shape[:2]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{name} is {shapes[0][0]}×{shapes[0][1]} in {base.name}, {shapes[1][0]}×{shapes[1][1]} in "
                f"{tuned.name}; two models of one architecture are needed"
            )
    return names


def _is_wanted(name: str, weights: Weights, extraction: Extraction) -> bool:
    """Whether sd-scripts would make a LoRA for this, and under this of a module's names."""
    part, path = module_table().get(name, Module("vae", ""))
    if part == "vae" or len(weights.by_name[name].shape) < 2 or same_name(name, weights.architecture) != name:
        return False
    if part != "unet" or ".attentions." in path:
        return True
    return bool(extraction.conv_rank) and any(f".{kind}." in path for kind in _KERNEL_BLOCKS)


def _size(extraction: Extraction, kernel: Sequence[int]) -> Size:
    larger = any(side > 1 for side in kernel)
    return replace(extraction.size, rank=extraction.conv_rank) if larger else extraction.size
