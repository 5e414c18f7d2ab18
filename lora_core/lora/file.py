"""LoRA files of every kind, in sd-scripts' and LyCORIS' naming or in diffusers': read module by module, and written.

In diffusers' naming alphas are in the metadata, under `lora_adapter_metadata`, as peft's LoraConfig has them; without
it alpha is the rank.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lora_core.bounded import json_of
from lora_core.errors import LoraError, OtherKindError
from lora_core.hub.formats import Header
from lora_core.lora.keys import parse_key
from lora_core.lora.module import DOWN, MAGNITUDE, MID, TENSORS, UP, LoraModule, kind_of
from lora_core.lora.naming import BIAS, Module, lora_architecture, names_of
from lora_core.lora.tensor_files import FLOATS, SafetensorsWriter, TensorFile

ADAPTER_METADATA = "lora_adapter_metadata"
_EMBEDDING = re.compile(r"bundle_emb\.(?P<name>[^.]+)\..+")
_OTHER_KINDS = (
    ("hada_w1", "a LoHa"),
    ("lokr_", "a LoKr"),
    ("oft_", "an OFT (orthogonal fine-tuning)"),
    (".a1.weight", "a GLoRA"),
    (".on_input", "an IA3"),
    ("dora_scale", "a DoRA"),
    ("lora_magnitude_vector", "a DoRA"),
    ("base_model.model.", "a peft adapter that does not say which model it is of"),
    ("lora_A", "a LoRA in peft's naming for another kind of model"),
    ("emb_params", "a textual inversion"),
    ("bundle_emb.", "a textual inversion"),
    ("model.diffusion_model.", "a whole checkpoint"),
    ("down_blocks.", "a part of a diffusers model"),
)
_NUMBERS = ("alpha", "scalar")
_Keys = dict[str | Module, dict[str, str]]
"""Module → name of a tensor → its key in the file."""


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file in memory."""

    name: str
    """The file's name, for messages."""
    modules: Mapping[str, LoraModule]
    """By sd-scripts' names."""
    metadata: Mapping[str, str]


class OpenLora:
    """A LoRA file that is read module by module. Only its header and its alphas are held."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Read the header and the alphas; arguments and errors as `open_lora`."""
        self._file = TensorFile(path, name)
        self.name = self._file.name
        self.metadata: Mapping[str, str] = self._file.header.metadata
        keys, embeddings = _take_apart(self._file.header, self.name)
        self.embeddings = embeddings
        """Names of the textual inversions that are bundled with the LoRA."""
        modules = {module: self._module(module, its) for module, its in keys.items()}
        self.diffusers_naming = any(isinstance(module, Module) for module in keys)
        names = self._names(modules) if self.diffusers_naming else {module: str(module) for module in keys}
        self._keys = {names[module]: its for module, its in keys.items()}
        self.modules = {names[module]: found for module, found in modules.items()}
        """sd-scripts' name → the module without its numbers: its tensors are on the meta device."""

    @property
    def architecture(self) -> str:
        """The architecture it was trained on, as `naming.lora_architecture` finds it."""
        return lora_architecture({name: each.shape[1] for name, each in self.modules.items()}, self.metadata)

    @property
    def dtypes(self) -> set[str]:
        """The dtypes of its matrices, by their names in the file."""
        infos = self._file.header.tensors
        return {infos[keys[each]].dtype for name, keys in self._keys.items() for each in self.modules[name].tensors}

    @property
    def is_plain(self) -> bool:
        """Whether it holds plain LoRAs and nothing else."""
        return all(module.is_plain for module in self.modules.values())

    @property
    def title(self) -> str:
        """Its kinds, for messages."""
        return " and ".join(sorted({module.title for module in self.modules.values()}))

    def read(self, name: str) -> LoraModule:
        """One module; its tensors as they are in the file, on the CPU.

        Raises:
            LoraError: a number is not finite.
        """
        module, keys = self.modules[name], self._keys[name]
        tensors = {each: self._file.read(keys[each]) for each in module.tensors}
        return LoraModule({each: t.reshape(module.tensors[each].shape) for each, t in tensors.items()}, module.alpha)

    def whole(self) -> LoraFile:
        """The file in memory; errors as `read`."""
        return LoraFile(self.name, {name: self.read(name) for name in self.modules}, self.metadata)

    def _module(self, name: str | Module, keys: Mapping[str, str]) -> LoraModule:
        """A module as the header describes it.

        Raises:
            LoraError: a tensor is missing, is stored in another dtype or does not fit the others.
        """
        infos = {each: self._file.header.tensors[key] for each, key in keys.items()}
        tensors: dict[str, torch.Tensor] = {}
        for each, info in infos.items():
            if each not in _NUMBERS and info.dtype not in FLOATS:
                raise LoraError(
                    f"{self.name}: {keys[each]} is stored as {info.dtype}; a LoRA in fp16, bf16 or fp32 is needed"
                )
            if each not in _NUMBERS:
                tensors[each] = torch.empty(info.shape, dtype=FLOATS[info.dtype], device="meta")
        if kind_of(tensors) is None:
            raise LoraError(f"{self.name}: {_incomplete(name, tensors)}")
        if isinstance(name, Module) and MAGNITUDE in tensors:  # peft's are of rows, as (out,) or (1, out, 1, 1)
            tensors[MAGNITUDE] = tensors[MAGNITUDE].reshape(-1, *(1 for _ in tensors[DOWN].shape[1:]))
        module = LoraModule(tensors, self._file.number(keys["alpha"]) if "alpha" in keys else None)
        if "scalar" in keys:  # LyCORIS' factor on the whole change, which alpha can hold as well
            if not module.rank:
                raise LoraError(f"{self.name}: {_text(name)} has a scalar but no rank; save it again with LyCORIS")
            alpha = float(module.rank) if module.alpha is None else module.alpha
            module = LoraModule(tensors, alpha * self._file.number(keys["scalar"]))
        try:
            _ = module.shape
        except (RuntimeError, IndexError):
            shapes = ", ".join(f"{each} {list(tensor.shape)}" for each, tensor in sorted(tensors.items()))
            raise LoraError(f"{self.name}: {_text(name)}: {shapes} do not fit each other; the file is broken") from None
        return module

    def _names(self, modules: dict[str | Module, LoraModule]) -> dict[str | Module, str]:
        """sd-scripts' names of modules in diffusers' naming, whose alphas are found in the metadata on the way.

        Raises:
            LoraError: one is no module of Stable Diffusion.
        """
        found = {module: each for module, each in modules.items() if isinstance(module, Module)}
        architecture, names = names_of({module: each.shape[1] for module, each in found.items()}, self.metadata)
        config = _config(self.metadata, self.name)
        for module, each in found.items():
            if module not in names:
                raise LoraError(
                    f"{self.name}: {_text(module)} is no module of {architecture}; this LoRA is of no use here"
                )
            stated = each.alpha is not None or not each.rank  # by a tensor, as some converters write it
            modules[module] = each if stated else LoraModule(each.tensors, _peft_alpha(config, module, each.rank))
        return dict(names)


def open_lora(path: Path, name: str = "") -> OpenLora:
    """Open a LoRA file of any kind, to be read module by module.

    Args:
        path: where the bytes are.
        name: the name in messages; the path if empty.

    Raises:
        LoraError: it is no LoRA, is cut off, a module lacks a tensor, or an alpha is 0.
    """
    lora = OpenLora(path, name)
    ranked = {module: each.alpha for module, each in lora.modules.items() if each.rank}
    if dead := [module for module, alpha in ranked.items() if alpha == 0]:
        raise LoraError(
            f"{lora.name}: alpha is 0 in {len(dead)} of its {len(ranked)} modules (such as {dead[0]}), so they would "
            "do nothing; train it again with an alpha above 0, or take another"
        )
    return lora


def read_lora(path: Path, name: str = "") -> LoraFile:
    """Read a LoRA file of any kind whole; arguments and errors as `open_lora`, and every number must be finite."""
    return open_lora(path, name).whole()


def is_lora(header: Header) -> bool:
    """Whether a file has a tensor that belongs to a LoRA, in one of the namings that are read."""
    return any(parse_key(key) for key in header.tensors)


def _other_kind(header: Header) -> str:
    """What a file is that is not read as a LoRA, in words; "" if that is not known."""
    return next((what for mark, what in _OTHER_KINDS if any(mark in key for key in header.tensors)), "")


def _take_apart(header: Header, name: str) -> tuple[_Keys, tuple[str, ...]]:
    """The keys of every module, and the names of the bundled embeddings.

    Raises:
        LoraError: there is none, or a tensor that belongs to no LoRA.
    """
    keys: _Keys = {}
    embeddings: dict[str, None] = {}
    foreign: list[str] = []
    for key in header.tensors:
        if bundled := _EMBEDDING.fullmatch(key):
            embeddings[bundled["name"]] = None
        elif found := parse_key(key):
            keys.setdefault(found.module, {})[found.tensor] = key
        else:
            foreign.append(key)
    if not any(TENSORS & its.keys() for its in keys.values()) and (what := _other_kind(header)):
        raise OtherKindError(name, what)
    if not keys and not foreign:
        raise LoraError(f"{name}: the file is empty; it holds no LoRA")
    if foreign:
        raise LoraError(f"{name}: has a tensor {foreign[0]!r}, which belongs to no LoRA; use another file")
    if len({type(module) for module in keys}) > 1:
        raise LoraError(f"{name}: it has modules in two namings, kohya's and diffusers'; use a file in one of them")
    return keys, tuple(embeddings)


def _incomplete(name: str | Module, tensors: Mapping[str, object]) -> str:
    """What is wrong with a module whose tensors are of no kind."""
    if (UP not in tensors and {DOWN} <= tensors.keys() <= {DOWN, MID}) or tensors.keys() in ({UP}, {MID, UP}):
        missing = DOWN if UP in tensors else UP
        if isinstance(name, Module):
            missing = "lora_A.weight" if missing == DOWN else "lora_B.weight"
        return f"{_text(name)} has no {missing}; the file is incomplete, take another copy"
    what = next((f"; that is {what}, which no tool here applies" for mark, what in _FOREIGN if mark in tensors), "")
    return (
        f"{_text(name)} has {', '.join(sorted(tensors)) or 'nothing but alpha'}{what}; read are whole LoRAs, DoRAs, "
        "LoHas and LoKrs, and differences; take another copy of the file or another LoRA"
    )


_FOREIGN = (
    ("lora_up.bias", "a change of the bias"), ("a1.weight", "a GLoRA"), ("on_input", "an IA3"),
    ("oft_blocks", "an OFT"), ("oft_diag", "an OFT"),
)  # fmt: skip
"""A tensor's name, and what a module that has it is."""


def _text(name: str | Module) -> str:
    return ".".join(name) if isinstance(name, Module) else name


def _config(metadata: Mapping[str, str], name: str) -> Mapping[str, Any]:
    try:
        config = json_of(metadata.get(ADAPTER_METADATA, "{}"))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise LoraError(f"{name}: its {ADAPTER_METADATA} is no JSON object; save it again with diffusers")
    return config


def _peft_alpha(config: Mapping[str, Any], module: Module, rank: int) -> float:
    """A module's alpha as peft finds it: that of a pattern that its path ends with, or the part's own."""
    part, path = module
    patterns = config.get(f"{part}.alpha_pattern") or {}
    matching = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", path))
    alpha = float(next(matching, config.get(f"{part}.lora_alpha", rank)))
    return alpha * math.sqrt(rank) if config.get(f"{part}.use_rslora") else alpha


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_lora(
    path: Path, modules: Mapping[str, LoraModule], *, dtype: torch.dtype, metadata: Mapping[str, str]
) -> None:
    """Write a LoRA file of any kind; equal inputs give equal bytes.

    Args:
        path: the file.
        modules: by sd-scripts' names, in any order.
        dtype: of the file: float16, bfloat16 or float32.
        metadata: text by key; the two `sshs_*` hashes that web UIs know files by are added.

    Raises:
        LoraError: there is no module, or a weight is not finite in that dtype.
        StoreError: the disk is full or not writable.
    """
    with SafetensorsWriter(path) as writer:
        for name, module in sorted(modules.items()):
            add_module(writer, name, module, dtype)
        writer.write(metadata, hashes=True)


def add_module(writer: SafetensorsWriter, name: str, module: LoraModule, dtype: torch.dtype) -> None:
    """Put a module into a file under way. Modules come in the order of their names.

    An alpha is in float32 if the file's dtype would round it. A bias goes by its layer's name.

    Raises:
        LoraError: a weight is not finite in that dtype.
        StoreError: the disk is full or not writable.
    """
    name = name.removesuffix(BIAS)
    if module.alpha is not None:
        exact = torch.tensor(module.alpha, dtype=torch.float64)
        writer.add(f"{name}.alpha", exact.to(dtype if exact.to(dtype) == exact else torch.float32))
    for key, tensor in sorted(module.tensors.items()):
        writer.add(f"{name}.{key}", tensor.detach().to(device="cpu", dtype=dtype))
