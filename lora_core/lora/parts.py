"""What a LoRA file holds, told from its header: which tensors belong to which module, in either naming.

sd-scripts' naming, which web UIs read: `lora_unet_….lora_down.weight`, `.lora_up.weight`, `.lora_mid.weight`, `.alpha`.
diffusers' naming, whose modules are peft's: `unet.….lora_A.weight`, `.lora_B.weight`; ranks and alphas are in the
metadata, under `lora_adapter_metadata`, as peft's LoraConfig has them (without it alpha is the rank).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from lora_core.bounded import json_of
from lora_core.errors import LoraError
from lora_core.hub.formats import Header, TensorInfo
from lora_core.hub.layout import Part
from lora_core.lora.keys import lora_architecture, naming
from lora_core.lora.names import name_of, plain_name

ADAPTER_METADATA = "lora_adapter_metadata"
_FLOATS = ("F16", "BF16", "F32", "F64")
_KOHYA = re.compile(r"(?P<module>lora_\w+)\.(?P<half>lora_down|lora_up|lora_mid|alpha)(\.weight)?")
_DIFFUSERS = re.compile(
    r"(?P<part>unet|text_encoder|text_encoder_2)\.(?:base_model\.model\.)?(?P<path>[\w.]+?)"
    r"\.(?P<half>lora_A|lora_B|lora\.down|lora\.up|lora_linear_layer\.down|lora_linear_layer\.up)(?:\.default)?\.weight"
)
_HALVES = {
    **{"lora_down": "down", "lora_up": "up", "lora_mid": "mid", "alpha": "alpha", "lora_A": "down", "lora_B": "up"},
    **{f"{layer}.{half}": half for layer in ("lora", "lora_linear_layer") for half in ("down", "up")},
}
_OTHER_KINDS = (
    ("hada_w1", "a LoHa"),
    ("lokr_", "a LoKr"),
    ("oft_", "an OFT"),
    ("dora_scale", "a DoRA"),
    ("lora_magnitude_vector", "a DoRA"),
    ("base_model.model.", "a peft adapter that does not say which model it is of"),
    ("lora_A", "a LoRA in peft's naming for another kind of model"),
    ("_lora.down", "a LoRA of diffusers' first releases"),
    ("emb_params", "a textual inversion"),
    ("model.diffusion_model.", "a whole checkpoint"),
    ("down_blocks.", "a part of a diffusers model"),
)


@dataclass(frozen=True)
class Parts:
    """The tensors of one module, each with its key in the file."""

    keys: Mapping[str, str]
    """`down`, `up`, perhaps `mid` and `alpha` → key."""
    infos: Mapping[str, TensorInfo]
    """The same, → dtype, shape and place."""
    alpha: float | None = field(default=None)
    """From the metadata. None: it is in a tensor, or not stated, which means the rank."""

    @property
    def rank(self) -> int:
        """Rows of `down`."""
        return self.infos["down"].shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that the module changes: (out, in) or (out, in, kh, kw)."""
        kernel = self.infos["mid" if "mid" in self.infos else "down"].shape[2:]
        return (self.infos["up"].shape[0], self.infos["down"].shape[1], *kernel)


def lora_parts(header: Header, name: str) -> dict[str, Parts]:
    """The modules of a LoRA file, by their names in sd-scripts' naming.

    Raises:
        LoraError: it is no LoRA of the common kind, or a module lacks a half.
    """
    keys: dict[str, dict[str, str]] = {}
    diffusers = is_diffusers(header)
    for key in header.tensors:
        found = (_DIFFUSERS if diffusers else _KOHYA).fullmatch(key)
        if not found:
            what = other_kind(header) or f"something else (it has a tensor {key!r})"
            raise LoraError(f"{name}: this is {what}, not a LoRA as sd-scripts writes it; a plain one is needed")
        module = f"{found['part']}.{found['path']}" if diffusers else found["module"]
        keys.setdefault(module, {})[_HALVES[found["half"]]] = key
    if not keys:
        raise LoraError(f"{name}: the file is empty; it holds no LoRA")
    parts: dict[str, Parts] = {}
    for module, halves in keys.items():
        parts[module] = Parts(halves, {half: header.tensors[key] for half, key in halves.items()})
        _check_module(module, parts[module], name)
    return _renamed(parts, header.metadata, name) if diffusers else parts


def is_diffusers(header: Header) -> bool:
    """Whether a file's tensors are named as diffusers does."""
    return any(_DIFFUSERS.fullmatch(key) for key in header.tensors)


def input_widths(parts: Mapping[str, Parts]) -> dict[str, int]:
    """LoRA name → columns of the weight, what `lora_architecture` tells architectures apart by."""
    return {name: module.shape[1] for name, module in parts.items()}


def other_kind(header: Header) -> str:
    """What a file is that is no plain LoRA, in words; "" if that cannot be told."""
    return next((what for mark, what in _OTHER_KINDS if any(mark in key for key in header.tensors)), "")


def _check_module(module: str, parts: Parts, name: str) -> None:
    infos = parts.infos
    for half, info in infos.items():
        if info.dtype not in _FLOATS:
            raise LoraError(
                f"{name}: {parts.keys[half]} is stored as {info.dtype}; a LoRA in fp16, bf16 or fp32 is needed"
            )
    if not {"down", "up"} <= set(infos):
        halves = ("lora_A", "lora_B") if "." in module else ("lora_down", "lora_up")
        missing = halves["down" in infos]
        raise LoraError(f"{name}: {module} has no {missing}.weight; the file is incomplete, take another copy")
    down, up = infos["down"].shape, infos["up"].shape
    fits = len(down) in (2, 4) and len(up) in (2, 4) and down[0] == up[1] != 0 and math.prod(up[2:]) == 1
    if "mid" in infos:
        fits = fits and infos["mid"].shape[:2] == (down[0], down[0]) and math.prod(down[2:]) == 1
    if not fits:
        raise LoraError(
            f"{name}: {module}: down {list(down)} and up {list(up)} do not fit each other; the file is broken"
        )
    if "alpha" in infos and math.prod(infos["alpha"].shape) != 1:
        raise LoraError(f"{name}: {module}.alpha has shape {list(infos['alpha'].shape)}, a single number is needed")


# ── diffusers' naming ────────────────────────────────────────────────────────────────────────────────────────────────


def _renamed(parts: Mapping[str, Parts], metadata: Mapping[str, str], name: str) -> dict[str, Parts]:
    """Modules by their names in sd-scripts' naming, with the alphas that the metadata states."""
    places = {module: _place(module) for module in parts}
    two = any(part == "text_encoder_2" for part, _ in places.values())
    starts = {"text_encoder": "lora_te1_" if two else "lora_te_", "text_encoder_2": "lora_te2_"}
    widths = {
        plain_name(path) if part == "unet" else starts[part] + path.replace(".", "_"): parts[module].shape[1]
        for module, (part, path) in places.items()
    }
    architecture = naming(lora_architecture(widths, metadata))
    config = _config(metadata, name)
    renamed: dict[str, Parts] = {}
    for module, (part, path) in places.items():
        try:
            lora_name = name_of(architecture, part, path)
        except KeyError:
            raise LoraError(f"{name}: {module} is no module of {architecture}; this LoRA is of no use here") from None
        found = parts[module]
        renamed[lora_name] = Parts(found.keys, found.infos, _alpha(config, part, path, found.rank))
    return renamed


def _place(module: str) -> tuple[Part, str]:
    part, _, path = module.partition(".")
    if part != "unet" and not path.startswith("text_model."):
        path = f"text_model.{path}"  # transformers 5 has no text_model between the encoder and its layers
    return cast(Part, part), path


def _config(metadata: Mapping[str, str], name: str) -> Mapping[str, Any]:
    try:
        config = json_of(metadata.get(ADAPTER_METADATA, "{}"))
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise LoraError(f"{name}: its {ADAPTER_METADATA} is no JSON object; save it again with diffusers")
    return config


def _alpha(config: Mapping[str, Any], part: str, path: str, rank: int) -> float:
    """A module's alpha as peft finds it: a pattern that its path ends with, or the part's own."""
    patterns = config.get(f"{part}.alpha_pattern") or {}
    matching = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", path))
    alpha = float(next(matching, config.get(f"{part}.lora_alpha", rank)))
    return alpha * math.sqrt(rank) if config.get(f"{part}.use_rslora") else alpha
