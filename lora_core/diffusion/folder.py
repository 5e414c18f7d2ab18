"""A base model as a diffusers folder."""

import functools
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from lora_core.bounded import TEXT_BYTES, json_of, read_bounded
from lora_core.diffusion.source import PartSource, Source, make_source, refuse_quantized
from lora_core.errors import CheckpointError
from lora_core.hub.formats import Header, read_header
from lora_core.hub.layout import Architecture, Part, Place
from lora_core.recipe import Process

_NAME = "base model"
_SCHEDULER = "scheduler/scheduler_config.json"
_VAE_OLD_ATTENTION = (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
_CLIP = ("clip_text_model", "clip")


def folder_source(files: Mapping[str, Path], process: Process) -> Source:
    """Read a folder's configs and the headers of its weights.

    Raises:
        CheckpointError: a part is missing or broken, or it is something else than a plain Stable Diffusion 1, 2 or XL.
    """
    two = any(name.startswith("text_encoder_2/") for name in files)
    texts: tuple[Part, ...] = ("text_encoder", "text_encoder_2") if two else ("text_encoder",)
    headers = {part: _headers(files, part) for part in ("unet", "vae", *texts)}
    configs = {part: _json(files, f"{part}/config.json") for part in headers}
    for part in texts:
        if (kind := configs[part].get("model_type", _CLIP[0])) not in _CLIP:
            raise CheckpointError(f"{_NAME}: {part} is a {kind} model; Stable Diffusion 1, 2 and XL have CLIP there")
    unet = {key: info.shape for header in headers["unet"].values() for key, info in header.tensors.items()}
    scheduler = _json(files, _SCHEDULER) if _SCHEDULER in files else {}
    parts = {part: PartSource(configs[part], _places(headers[part])) for part in headers}
    return make_source(_NAME, folder_architecture(unet, two=two), parts, scheduler, process)


def folder_architecture(unet: Mapping[str, Collection[int]], *, two: bool) -> Architecture:
    """Which Stable Diffusion a folder holds.

    Args:
        unet: shapes of the U-Net's tensors.
        two: whether there are two text encoders.

    Raises:
        CheckpointError: it has two text encoders but is not SDXL, or the other way round.
    """
    xl = any(key.startswith("add_embedding.") for key in unet)
    if xl != two:
        raise CheckpointError(
            f"{_NAME}: its U-Net and its text encoders do not belong together: "
            + ("the U-Net is SDXL's but text_encoder_2 is missing" if xl else "text_encoder_2 belongs to SDXL only")
        )
    if xl:
        return "sdxl"
    linear = any(key.endswith(".attentions.0.proj_in.weight") and len(shape) == 2 for key, shape in unet.items())
    return "sd2" if linear else "sd1"


def weight_names(files: Mapping[str, Path], part: str) -> tuple[str, ...]:
    """The weight files of one part of a folder: the plain one, else the fp16 variant, either in one piece or sharded.

    Raises:
        CheckpointError: there is none.
    """
    names = sorted(name for name in files if re.fullmatch(rf"{part}/[^/]+\.safetensors", name))
    for pattern in (
        r"/(diffusion_pytorch_model|model)\.safetensors$",
        r"/(diffusion_pytorch_model|model)-\d+-of-\d+\.safetensors$",
        r"/(diffusion_pytorch_model|model)\.fp16\.safetensors$",
        r"/(diffusion_pytorch_model|model)\.fp16-\d+-of-\d+\.safetensors$",
    ):
        if found := tuple(name for name in names if re.search(pattern, name)):
            return found
    raise CheckpointError(f"{_NAME}: {part}/ holds no .safetensors weights; get the whole diffusers folder")


def _headers(files: Mapping[str, Path], part: Part) -> dict[Path, Header]:
    headers = {}
    for name in weight_names(files, part):
        headers[files[name]] = read_header(files[name], name)
        refuse_quantized(headers[files[name]], f"{_NAME}'s {name}")
    return headers


def _places(headers: Mapping[Path, Header]) -> dict[Path, Callable[[str], Place | None]]:
    return {
        path: functools.partial(_place_in, {_bare_key(key): Place(key) for key in header.tensors})
        for path, header in headers.items()
    }


def _place_in(there: Mapping[str, Place], key: str) -> Place | None:
    return there.get(_bare_key(key))


def _bare_key(key: str) -> str:
    """A tensor's name less what versions differ in: the VAE's attention has old names, CLIP may be wrapped."""
    for old, new in _VAE_OLD_ATTENTION:
        key = key.replace(f".attentions.0.{old}.", f".attentions.0.{new}.")
    return key.removeprefix("text_model.")


def _json(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    if name not in files:
        raise CheckpointError(f"{_NAME}: {name} is missing; it is no whole diffusers folder")
    try:
        value = json_of(read_bounded(files[name], TEXT_BYTES, CheckpointError))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{_NAME}: {name} is not readable JSON ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{_NAME}: {name} is not a JSON object")
    return value
