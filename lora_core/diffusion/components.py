"""A base model in memory: U-Net, VAE, text encoders and tokenizers, filled tensor by tensor from safetensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lora_core.device import pick_device, pick_dtype
from lora_core.diffusion.read import read_source
from lora_core.diffusion.source import Prediction, Source, refuse_without_vae
from lora_core.diffusion.tokenizer import folder_tokenizer, shipped_tokenizer
from lora_core.diffusion.words import speak_own_words
from lora_core.errors import CheckpointError
from lora_core.finite_check import is_finite, not_finite
from lora_core.hub.detect import Architecture
from lora_core.hub.layout import Part, Place
from lora_core.recipe import Process

Model = TypeVar("Model", bound=nn.Module)


def build(
    make: Callable[[], Model],
    sources: Mapping[Path, Callable[[str], Place | None]],
    *,
    part: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Model:
    """Make a model and fill it; frozen and in eval mode.

    Args:
        make: builds the model; it runs on the meta device, so it costs neither time nor memory.
        sources: by file, a function that tells where in it a tensor of the model lies; None: not in this one.
        part: the model's name in messages.
        device: where the weights go.
        dtype: the format they are held in.

    Raises:
        CheckpointError: a tensor is missing, has another shape or, on any device but meta, holds a number that is not
            finite.
    """
    with torch.device("meta"):
        model = make()
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items()}
    state: dict[str, torch.Tensor] = {}
    for path, place_of in sources.items():
        with safe_open(path, framework="pt", device="cpu") as file:
            there, read = set(file.keys()), partial(_shaped, file) if device.type == "meta" else file.get_tensor
            for key, shape in wanted.items():
                place = place_of(key)
                if place is None or place.key not in there:
                    continue
                tensor = place.take(read(place.key))
                if tensor.numel() != shape.numel():
                    raise CheckpointError(
                        f"{part}: {key} has shape {list(tensor.shape)} in the file, its config says {list(shape)}"
                    )
                if tensor.is_floating_point() and not tensor.is_meta and not is_finite(tensor):
                    raise CheckpointError(not_finite(str(path), place.key))
                state[key] = tensor.reshape(shape).contiguous().to(device=device, dtype=dtype, copy=True)
    missing = [key for key in wanted if key not in state]
    if missing:
        raise CheckpointError(
            f"{part}: {len(missing)} of {len(wanted)} tensors are missing from the file, such as {missing[0]}; "
            "it is cut off or no Stable Diffusion model of a known kind"
        )
    model.load_state_dict(state, strict=True, assign=True)
    _restore_positions(model, device)
    return model.requires_grad_(False).eval()


def _shaped(file: Any, key: str) -> torch.Tensor:
    """A tensor's shape without its numbers: what is planned with holds none, and a base's are gigabytes to read."""
    return torch.empty(file.get_slice(key).get_shape(), device="meta")


def _restore_positions(model: nn.Module, device: torch.device) -> None:
    """CLIP counts its positions in a buffer that files do not hold and the meta device has no values for."""
    for name, buffer in list(model.named_buffers()):
        if buffer.is_meta and name.endswith("position_ids"):
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.register_buffer(
                "position_ids", torch.arange(buffer.shape[-1], device=device).expand(buffer.shape), persistent=False
            )


_TEXTS: tuple[Part, ...] = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Components:
    """A base model. Everything is frozen and in eval mode; the VAE is float32 whatever the rest is."""

    architecture: Architecture
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[CLIPTextModel | CLIPTextModelWithProjection, ...]
    tokenizers: tuple[CLIPTokenizer, ...]
    prediction_type: Prediction
    zero_terminal_snr: bool = False
    """Whether the noise schedule is rescaled so that the last timestep is pure noise."""


def load_components(
    files: Mapping[str, Path], *, device: torch.device, dtype: torch.dtype, process: Process | None = None
) -> Components:
    """Load a base model. Nothing is looked for anywhere else: no network, no cache.

    Args:
        files: the model's files, relative name → where the bytes are (whatever they are called on disk). One name that
            ends in .safetensors is a single file in the original layout; otherwise the files of a diffusers folder.
        device: where the weights go.
        dtype: format of the U-Net and the text encoders; the VAE is always float32, it overflows in float16.
        process: what the recipe says of the diffusion process; None: what the model says itself.

    Raises:
        CheckpointError: a part is missing, a file is broken, or the model is of a kind that cannot be used.
    """
    source = read_source(files, process)
    refuse_without_vae(source)

    def filled(part: Part) -> Any:
        there = source.parts[part]
        kind = torch.float32 if part == "vae" else dtype
        label = f"{source.name}: {part}"
        return build(lambda: _make(part, there.config), there.places, part=label, device=device, dtype=kind)

    text_encoders = tuple(filled(part) for part in _TEXTS if part in source.parts)
    tokenizers = _tokenizers(source, files)
    speak_own_words(text_encoders, tokenizers, files)
    return Components(
        architecture=source.architecture,
        unet=filled("unet"),
        vae=filled("vae"),
        text_encoders=text_encoders,
        tokenizers=tokenizers,
        prediction_type=source.prediction,
        zero_terminal_snr=source.zero_terminal_snr,
    )


def without_weights(files: Mapping[str, Path], *, dtype: torch.dtype, process: Process | None = None) -> Components:
    """The same models on the meta device, by their configs alone: no weight is read.

    Raises:
        CheckpointError: a part is missing, or the model is of a kind that cannot be used.
    """
    source = read_source(files, process)
    refuse_without_vae(source)

    def empty(part: Part) -> Any:
        with torch.device("meta"):
            return _make(part, source.parts[part].config).to(torch.float32 if part == "vae" else dtype)

    return Components(
        source.architecture, empty("unet"), empty("vae"),
        tuple(empty(part) for part in _TEXTS if part in source.parts), (), source.prediction, source.zero_terminal_snr,
    )  # fmt: skip


def load_for_drawing(files: Mapping[str, Path], *, device: str, process: Process | None = None) -> Components:
    """Load a base model as web UIs do: in fp16 on a GPU, SD2 excepted, whose attention overflows there.

    Args:
        files: as of `load_components`.
        device: its name, or "auto".
        process: as of `load_components`.

    Raises:
        CheckpointError: as of `load_components`.
        RecipeError: there is no such device.
    """
    where = pick_device(device)
    dtype = drawing_dtype(read_source(files, process).architecture, where)
    return load_components(files, device=where, dtype=dtype, process=process)


def drawing_dtype(architecture: Architecture, device: torch.device) -> torch.dtype:
    """The number format that a web UI draws in."""
    return torch.float16 if device.type == "cuda" and architecture != "sd2" else pick_dtype("auto", device)


def _tokenizers(source: Source, files: Mapping[str, Path]) -> tuple[CLIPTokenizer, ...]:
    if source.open_clip:
        return tuple(shipped_tokenizer(pad_zero=zero) for zero in source.open_clip)
    parts = [part.replace("text_encoder", "tokenizer") for part in _TEXTS if part in source.parts]
    return tuple(folder_tokenizer(files, part) for part in parts)


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
