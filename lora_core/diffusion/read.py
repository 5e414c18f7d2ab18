"""A base model's files, read without loading them: one file in the original layout, or a diffusers folder."""

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from lora_core.bounded import TEXT_BYTES, json_of, read_bounded
from lora_core.diffusion.configs import original_configs, own_configs
from lora_core.diffusion.source import PartSource, Source, make_source, refuse_quantized
from lora_core.diffusion.vae import vae_source
from lora_core.errors import CheckpointError
from lora_core.hub.detect import Architecture
from lora_core.hub.find import OTHER_VAE, WEIGHTS, own_files
from lora_core.hub.formats import Header, read_header
from lora_core.hub.layout import OriginalLayout, Part, Place, read_layout
from lora_core.recipe import Process

_PARTS: tuple[Part, ...] = ("unet", "vae", "text_encoder", "text_encoder_2")
_EDM_MARKS = ("edm_mean", "edm_std", "edm_vpred.sigma_max")
_SD2_V_SPREAD = 0.09


def single_source(path: Path, name: str, process: Process) -> Source:
    """Read a single file's header.

    Raises:
        CheckpointError: the file is broken, or holds something else than a plain Stable Diffusion 1, 2 or XL.
    """
    header = read_header(path, name)
    refuse_quantized(header, name)
    for mark in _EDM_MARKS:
        if mark in header.tensors:
            raise CheckpointError(
                f"{name}: its tensor {mark} says that it was trained with EDM, another diffusion process "
                "(Playground 2.5, CosXL); use a plain SDXL model"
            )
    layout = read_layout(header.shapes, name)
    configs = original_configs(header, layout, name)
    parts = {
        part: PartSource(configs[part], {path: functools.partial(layout.place, part)})
        for part in _PARTS
        if part in configs
    }
    scheduler = {**_scheduler(path, header, layout), **own_configs(header, name).get("scheduler", {})}
    open_clip = tuple(at.style == "open_clip" or layout.architecture == "sd2" for at in layout.text_encoders)
    return make_source(name, layout.architecture, parts, scheduler, process, open_clip=open_clip)


def _scheduler(path: Path, header: Header, layout: OriginalLayout) -> dict[str, Any]:
    """What a file says of its diffusion process, in the words of diffusers' scheduler configs.

    The empty tensors `v_pred` and `ztsnr` are what web UIs go by. Stability's model spec comes behind them: tools write
    "epsilon" there by default.
    """
    told: dict[str, Any] = {"rescale_betas_zero_snr": True} if "ztsnr" in header.tensors else {}
    stated = header.metadata.get("modelspec.prediction_type", "")
    if "v_pred" in header.tensors or stated in ("v", "v_prediction"):
        return told | {"prediction_type": "v_prediction"}
    if stated == "epsilon" or layout.architecture != "sd2" or not _sd2_predicts_v(path, header, layout):
        return told | {"prediction_type": "epsilon"}
    return told | {"prediction_type": "v_prediction"}


def _sd2_predicts_v(path: Path, header: Header, layout: OriginalLayout) -> bool:
    """Whether an SD2 file that says nothing predicts v, as ComfyUI tells it.

    The biases of one layer norm near the U-Net's output are spread wider than 0.09 in SD 2.0's and 2.1's 768 px models
    and what was made of them, and less in the 512 px ones, which predict epsilon.
    """
    last = f"up_blocks.{len(layout.up_attention) - 1}.attentions.{layout.layers}"
    key = layout.place("unet", f"{last}.transformer_blocks.0.norm1.bias").key
    return key in header.tensors and float(_numbers(path, header, key).std()) > _SD2_V_SPREAD


def _numbers(path: Path, header: Header, key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values of one small tensor, read without torch."""
    info = header.tensors[key]
    with path.open("rb") as file:
        file.seek(header.data_start + info.start)
        raw = file.read(info.end - info.start)
    if info.dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    return np.frombuffer(raw, {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[info.dtype]).astype(np.float64)


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
    """The weight files of one part of a folder, by the first of the known namings that is there.

    Raises:
        CheckpointError: there is none.
    """
    for pattern in WEIGHTS:
        if found := tuple(sorted(name for name in files if fnmatchcase(name, pattern.format(part=part)))):
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


def read_source(files: Mapping[str, Path], process: Process | None = None) -> Source:
    """Look at a base model: a few milliseconds, no torch.

    Args:
        files: relative name → where the bytes are. One name without a folder is a single file in the original layout;
            otherwise they are those of a diffusers folder.
        process: what the recipe says of the diffusion process; None: what the model says itself.

    Raises:
        CheckpointError: a part is missing, a file is broken, or the model is of a kind that cannot be used.
    """
    if not files:
        raise CheckpointError(
            "the base model has no files; name a .safetensors file, a diffusers folder or a repository"
        )
    own = own_files(files)
    told, name = process or Process(), next(iter(own))
    single = len(own) == 1 and "/" not in name and not name.endswith(".json")
    source = single_source(own[name], name, told) if single else folder_source(own, told)
    for other, path in files.items():
        if other.startswith(OTHER_VAE):
            parts = {**source.parts, "vae": vae_source(path, other.removeprefix(OTHER_VAE), source.architecture)}
            source = replace(source, parts=parts)
    return source
