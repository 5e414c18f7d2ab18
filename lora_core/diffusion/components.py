"""A base model in memory: its U-Net, VAE, text encoders and tokenizers, from a single file or a diffusers folder."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lora_core.diffusion.configs import original_configs
from lora_core.diffusion.tokenizer import folder_tokenizer, shipped_tokenizer
from lora_core.diffusion.weights import build
from lora_core.errors import CheckpointError
from lora_core.hub.formats import Header, read_header
from lora_core.hub.layout import EMA_PREFIX, Architecture, Part, Place, read_layout

PredictionType = Literal["epsilon", "v_prediction"]

_VAE_OLD_ATTENTION = (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"))
_TRAINABLE_DTYPES = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class Components:
    """A base model. Everything is frozen and in eval mode; the VAE is float32 whatever the rest is."""

    architecture: Architecture
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]
    tokenizers: tuple[CLIPTokenizer, ...]
    prediction_type: PredictionType


@dataclass(frozen=True)
class _Source:
    """One model of the base: its config, and by file where in it a tensor lies."""

    config: Mapping[str, Any]
    places: Mapping[Path, Callable[[str], Place | None]]


def load_components(files: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype) -> Components:
    """Load a base model. Nothing is looked for anywhere else: no network, no cache.

    Args:
        files: the model's files, relative name → where the bytes are (whatever they are called on disk). One name that
            ends in .safetensors is a single file in the original layout; otherwise the files of a diffusers folder.
        device: where the weights go.
        dtype: format of the U-Net and the text encoders; the VAE is always float32, it overflows in float16.

    Raises:
        CheckpointError: a part is missing, a file is broken, or the model is of a kind that cannot be used.
    """
    name = single_file(files)
    if name is not None:
        return _load_single(files[name], name, device, dtype)
    return _load_folder(files, device, dtype)


def single_file(files: Mapping[str, Path]) -> str | None:
    """The name of the single file in the original layout, None for a diffusers folder.

    Raises:
        CheckpointError: there are no files.
    """
    if not files:
        raise CheckpointError(
            "the base model has no files; name a .safetensors file, a diffusers folder or a repository"
        )
    name = next(iter(files))
    return name if len(files) == 1 and "/" not in name and not name.endswith(".json") else None


# ── a single file ────────────────────────────────────────────────────────────────────────────────────────────────────


def _load_single(path: Path, name: str, device: torch.device, dtype: torch.dtype) -> Components:
    header = read_header(path, name)
    _refuse_quantized(header, name)
    keys = [key for key in header.tensors if not key.startswith(EMA_PREFIX)]
    layout = read_layout(keys, name)
    configs = original_configs(header, layout, name)

    parts: tuple[Part, ...] = ("unet", "vae", "text_encoder", "text_encoder_2")
    sources = {
        part: _Source(configs[part], {path: functools.partial(layout.place, part)}) for part in parts if part in configs
    }
    tokenizers = tuple(shipped_tokenizer(pad_zero=at.style == "open_clip") for at in layout.text_encoders)
    prediction = configs.get("scheduler", {}).get("prediction_type", "epsilon")
    return _assemble(layout.architecture, sources, tokenizers, prediction, name, device, dtype)


# ── a diffusers folder ───────────────────────────────────────────────────────────────────────────────────────────────


def _load_folder(files: Mapping[str, Path], device: torch.device, dtype: torch.dtype) -> Components:
    unet = _folder_source(files, "unet")
    two = any(name.startswith("text_encoder_2/") for name in files)
    texts: tuple[Part, ...] = ("text_encoder", "text_encoder_2") if two else ("text_encoder",)
    parts: tuple[Part, ...] = ("vae", *texts)
    sources = {"unet": unet, **{part: _folder_source(files, part) for part in parts}}
    tokenizers = tuple(folder_tokenizer(files, part.replace("text_encoder", "tokenizer")) for part in texts)
    scheduler = _json(files, "scheduler/scheduler_config.json") if "scheduler/scheduler_config.json" in files else {}
    architecture = folder_architecture(unet.config, two=two)
    return _assemble(
        architecture, sources, tokenizers, scheduler.get("prediction_type", "epsilon"), "base model", device, dtype
    )


def folder_architecture(unet: Mapping[str, Any], *, two: bool) -> Architecture:
    """Which Stable Diffusion a diffusers folder holds; `two`: whether it has two text encoders.

    Raises:
        CheckpointError: it has two text encoders but is not SDXL, or the other way round.
    """
    xl = unet.get("addition_embed_type") == "text_time"
    if xl != two:
        raise CheckpointError(
            "base model: its U-Net and its text encoders do not belong together: "
            + ("the U-Net is SDXL's but text_encoder_2 is missing" if xl else "text_encoder_2 belongs to SDXL only")
        )
    if xl:
        return "sdxl"
    return "sd2" if unet.get("use_linear_projection") else "sd1"


def _folder_source(files: Mapping[str, Path], part: Part) -> _Source:
    config = _json(files, f"{part}/config.json")
    places: dict[Path, Callable[[str], Place | None]] = {}
    for name in weight_names(files, part):
        header = read_header(files[name], name)
        _refuse_quantized(header, name)
        places[files[name]] = functools.partial(_place_in, {_bare_key(key): Place(key) for key in header.tensors})
    return _Source(config, places)


def _place_in(there: Mapping[str, Place], key: str) -> Place | None:
    return there.get(_bare_key(key))


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
    raise CheckpointError(f"base model: {part}/ holds no .safetensors weights; get the whole diffusers folder")


def _bare_key(key: str) -> str:
    """A tensor's name less what versions differ in: the VAE's attention has old names, CLIP may be wrapped."""
    for old, new in _VAE_OLD_ATTENTION:
        key = key.replace(f".attentions.0.{old}.", f".attentions.0.{new}.")
    return key.removeprefix("text_model.")


def _json(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    if name not in files:
        raise CheckpointError(f"base model: {name} is missing; it is no whole diffusers folder")
    try:
        value = json.loads(files[name].read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"base model: {name} is not readable JSON ({error})") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"base model: {name} is not a JSON object")
    return value


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _assemble(
    architecture: Architecture,
    sources: Mapping[Part, _Source],
    tokenizers: tuple[CLIPTokenizer, ...],
    prediction_type: str,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Components:
    channels = sources["unet"].config.get("in_channels", 4)
    if channels != 4:
        kind = {9: "an inpainting model", 8: "an image-editing model"}.get(channels, "no text-to-image model")
        raise CheckpointError(f"{name}: its U-Net takes {channels} channels, so it is {kind}; use the plain model (4)")
    if prediction_type not in ("epsilon", "v_prediction"):
        raise CheckpointError(f"{name}: prediction type {prediction_type!r} is unknown; known: epsilon, v_prediction")

    def filled(part: Part) -> Any:
        source = sources[part]
        kind = torch.float32 if part == "vae" else dtype
        return build(
            lambda: _make(part, source.config), source.places, part=f"{name}: {part}", device=device, dtype=kind
        )

    texts: tuple[Part, ...] = ("text_encoder", "text_encoder_2")
    return Components(
        architecture=architecture,
        unet=filled("unet"),
        vae=filled("vae"),
        text_encoders=tuple(filled(part) for part in texts if part in sources),
        tokenizers=tokenizers,
        prediction_type="v_prediction" if prediction_type == "v_prediction" else "epsilon",
    )


def _make(part: Part, config: Mapping[str, Any]) -> Any:
    try:
        if part == "unet":
            return UNet2DConditionModel.from_config(dict(config))
        if part == "vae":
            return AutoencoderKL.from_config(dict(config))
        text = CLIPTextConfig.from_dict(dict(config))
        return CLIPTextModelWithProjection(text) if part == "text_encoder_2" else CLIPTextModel(text)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"base model: {part}'s config makes no model ({error})") from error


def _refuse_quantized(header: Header, name: str) -> None:
    for key, info in header.tensors.items():
        if info.dtype not in _TRAINABLE_DTYPES and not key.endswith("position_ids") and len(info.shape) > 1:
            raise CheckpointError(
                f"{name}: {key} is stored as {info.dtype}; quantized weights cannot be trained on or merged into, "
                "use the fp16 or fp32 file"
            )
