"""A base model in one file, in the original layout of Stable Diffusion."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from lora_core.diffusion.configs import original_configs, own_configs
from lora_core.diffusion.source import PartSource, Source, make_source, refuse_quantized
from lora_core.errors import CheckpointError
from lora_core.hub.formats import Header, read_header
from lora_core.hub.layout import EMA_PREFIX, OriginalLayout, Part, read_layout
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
    layout = read_layout([key for key in header.tensors if not key.startswith(EMA_PREFIX)], name)
    configs = original_configs(header, layout, name)
    parts = {
        part: PartSource(configs[part], {path: functools.partial(layout.place, part)})
        for part in _PARTS
        if part in configs
    }
    scheduler = {**_scheduler(path, header, layout), **own_configs(header, name).get("scheduler", {})}
    open_clip = tuple(at.style == "open_clip" for at in layout.text_encoders)
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
