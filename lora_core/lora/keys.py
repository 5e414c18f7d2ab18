"""The keys of LoRA files, taken apart: every naming in use for a module and for the tensors of it."""

import re
from collections.abc import Mapping
from typing import NamedTuple, cast

from lora_core.hub.layout import Part
from lora_core.lora.module import DIFFERENCES
from lora_core.lora.naming import BIAS, ENDS, Module, original_table

_HALVES = r"lora_A|lora_B|lora\.down|lora\.up|lora_linear_layer\.down|lora_linear_layer\.up|lora_down|lora_up"
_KOHYA = re.compile(r"(?P<module>lora_\w+)\.(?P<tensor>[\w.]+)")
_ORIGINAL = r"(?:model\.)?diffusion_model"
_COMFY_TEXT = r"text_encoders\.clip_[lg]\.transformer"
_PEFT = re.compile(
    rf"(?:(?P<part>unet|text_encoder|text_encoder_2|{_ORIGINAL}|{_COMFY_TEXT})\.)?(?:base_model\.model\.)?(?P<path>[\w.]+?)\."
    rf"(?P<tensor>{_HALVES}|lora_magnitude_vector|alpha|{'|'.join(DIFFERENCES)})(?:\.default(?:_\d+)?)?(?:\.weight)?"
)
_PROCESSOR = re.compile(
    r"(?:(?P<part>unet|text_encoder|text_encoder_2)\.)?(?P<path>[\w.]+?)\.(?:processor\.)?"
    r"to_(?P<layer>q|k|v|out)_lora\.(?P<half>down|up)\.weight"
)
"""diffusers' attention processors of 2023."""
_TENSORS: Mapping[str, str] = {
    "lora_A": "lora_down.weight",
    "lora_B": "lora_up.weight",
    "lora_magnitude_vector": "dora_scale",
    "alpha": "alpha",
    **{name: name for name in DIFFERENCES},
    **{
        f"{layer}{half}": f"lora_{half}.weight"
        for layer in ("lora.", "lora_linear_layer.", "lora_")
        for half in ("down", "up")
    },
}
_HALF = re.compile(rf"(?P<half>{_HALVES})(?:\.default(?:_\d+)?)?\.weight")
_UNET_STARTS = ("down_blocks.", "mid_block.", "up_blocks.", *(f"{end}." for end in ENDS))
_COMFY_PARTS: Mapping[str, Part] = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}


class Key(NamedTuple):
    """A tensor's key in a file, taken apart."""

    module: str | Module
    """sd-scripts' name, or the module itself in a file in diffusers' naming; of a bias with `BIAS` after it."""
    tensor: str
    """The tensor's name in sd-scripts' naming: `lora_down.weight`, `alpha`, `hada_w1_a`, …"""


def parse_key(key: str) -> Key | None:
    """The module and the tensor that a key of a file means; None where it is none of a LoRA's.

    Known are sd-scripts' and LyCORIS' (`lora_unet_….lora_down.weight`, some with peft's halves), diffusers'
    (`unet.….lora_A.weight`, earlier `.lora.down.weight`, in 2023 `.processor.to_q_lora.down.weight`), peft's of a U-Net
    without saying so (`down_blocks.….lora_A.weight`), the original layout's (`diffusion_model.input_blocks.…`), and
    ComfyUI's of text encoders (`text_encoders.clip_l.…`).
    """
    if found := _KOHYA.fullmatch(key):
        half = _HALF.fullmatch(found["tensor"])
        tensor = _TENSORS[half["half"]] if half else found["tensor"]
        return Key(found["module"] + _end(tensor), tensor)
    if found := _PROCESSOR.fullmatch(key):
        return _of_processor(found)
    if not (found := _PEFT.fullmatch(key)):
        return None
    part, path, tensor = found["part"], found["path"], _TENSORS[found["tensor"]]
    if part is None:
        return Key(Module("unet", path + _end(tensor)), tensor) if f"{path}.".startswith(_UNET_STARTS) else None
    if part.endswith("diffusion_model"):
        known = original_table().get(path)
        return Key(Module("unet", known + _end(tensor)), tensor) if known else None
    if part.startswith("text_encoders."):
        part = _COMFY_PARTS[part.split(".")[1]]
    return Key(_module(cast(Part, part), path + _end(tensor)), tensor)


def _end(tensor: str) -> str:
    """What follows the layer's name in that of the module that the tensor belongs to."""
    return BIAS if DIFFERENCES.get(tensor) == "bias" else ""


def _of_processor(found: re.Match[str]) -> Key | None:
    part, path, layer = found["part"] or "unet", found["path"], found["layer"]
    if part == "unet" and not f"{path}.".startswith(_UNET_STARTS):
        return None
    names = {"out": "to_out.0"} if part == "unet" else {name: f"{name}_proj" for name in ("q", "k", "v", "out")}
    module = _module(cast(Part, part), f"{path}.{names.get(layer, f'to_{layer}')}")
    return Key(module, f"lora_{found['half']}.weight")


def _module(part: Part, path: str) -> Module:
    if part != "unet" and not path.startswith("text_model."):
        path = f"text_model.{path}"  # transformers 5 has no text_model between the encoder and its layers
    return Module(part, path)
