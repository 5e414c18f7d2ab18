"""A base model on disk, understood: which Stable Diffusion, what its U-Net predicts, where each tensor lies.

All of it is read from names, shapes and small texts, without torch, so that a wrong file is refused at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from lora_core.errors import CheckpointError
from lora_core.hub.detect import Architecture
from lora_core.hub.formats import Header
from lora_core.hub.layout import Part, Place
from lora_core.recipe import Process

Prediction = Literal["epsilon", "v_prediction"]

_CHANNELS = {
    9: "an inpainting model",
    8: "an image-editing model",
    7: "an upscaler",
    5: "a depth-to-image model",
}
_OTHER_CONDITIONS = (
    ("class_embed_type", "a model of image variations or upscaling (unCLIP and its like)"),
    ("num_class_embeds", "a class-conditioned model"),
    ("encoder_hid_dim_type", "a model with a text encoder of its own (Kolors, Kandinsky, IP-Adapter)"),
    ("time_cond_proj_dim", "a latent consistency model (LCM); use the model it was distilled from"),
)
_TRAINABLE_DTYPES = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class PartSource:
    """One model of the base: its config, and by file where in it a tensor lies."""

    config: Mapping[str, Any]
    places: Mapping[Path, Callable[[str], Place | None]]


@dataclass(frozen=True)
class Source:
    """A base model on disk."""

    name: str
    """What messages call it."""
    architecture: Architecture
    parts: Mapping[Part, PartSource]
    prediction: Prediction
    zero_terminal_snr: bool
    open_clip: tuple[bool, ...]
    """For each text encoder of a single file, whether its tokenizer fills short prompts with id 0 as open_clip does;
    empty for a folder, which has the tokenizers' files."""


def refuse_without_vae(source: Source, option: str = "[base] vae") -> None:
    """Refuse to train on or draw with a base that has no VAE; merging, adding and extracting need none.

    Args:
        source: the base.
        option: of the recipe, by which this base gets one.

    Raises:
        CheckpointError: it has none.
    """
    if "vae" not in source.parts:
        raise CheckpointError(
            f'{source.name}: it has no VAE, which training and drawing need; name one: {option} = "FILE" in the '
            "recipe, --vae FILE for sample"
        )


def make_source(
    name: str,
    architecture: Architecture,
    parts: Mapping[Part, PartSource],
    scheduler: Mapping[str, Any],
    process: Process,
    *,
    open_clip: tuple[bool, ...] = (),
) -> Source:
    """Put together what was read, and refuse what only looks like Stable Diffusion.

    Args:
        name: for messages.
        architecture: by the tensors.
        parts: the U-Net, the VAE and one or two text encoders.
        scheduler: what the model says of its diffusion process, in the words of diffusers' scheduler configs.
        process: what the recipe says of it.
        open_clip: of a single file.

    Raises:
        CheckpointError: it is a model of another kind, or the two do not go together.
    """
    _refuse_other_unets(parts["unet"].config, name)
    prediction, zero_terminal_snr = _settled(scheduler, process, name)
    return Source(name, architecture, parts, prediction, zero_terminal_snr, open_clip)


def _refuse_other_unets(config: Mapping[str, Any], name: str) -> None:
    channels = config.get("in_channels", 4)
    if channels != 4:
        kind = _CHANNELS.get(channels, "no text-to-image model")
        raise CheckpointError(f"{name}: its U-Net takes {channels} channels, so it is {kind}; use the plain model (4)")
    if config.get("addition_embed_type") not in (None, "text_time"):
        raise CheckpointError(f"{name}: its U-Net reads {config['addition_embed_type']!r} too; {_ALLOWED}")
    for option, kind in _OTHER_CONDITIONS:
        if config.get(option) is not None:
            raise CheckpointError(f"{name}: this looks like {kind}; {_ALLOWED}")


_ALLOWED = "a plain Stable Diffusion 1, 2 or XL model is needed"


def _settled(scheduler: Mapping[str, Any], process: Process, name: str) -> tuple[Prediction, bool]:
    """What the U-Net predicts, and whether the last timestep is pure noise; the recipe's word goes first."""
    if any(mark in str(scheduler.get("_class_name")) for mark in ("EDM", "FlowMatch")):
        raise CheckpointError(f"{name}: it is trained with {scheduler['_class_name']}, another process; {_ALLOWED}")
    said = scheduler.get("prediction_type", "epsilon") if process.prediction == "auto" else process.prediction
    if said not in ("epsilon", "v_prediction"):
        raise CheckpointError(f"{name}: prediction type {said!r} is unknown; known: epsilon, v_prediction")
    if process.zero_terminal_snr and said == "epsilon":
        raise CheckpointError(
            f"{name}: zero_terminal_snr is set but this model predicts epsilon, which cannot go with it; "
            "set prediction = 'v_prediction' if it predicts v, else leave zero_terminal_snr off"
        )
    zero = said == "v_prediction" and (process.zero_terminal_snr or bool(scheduler.get("rescale_betas_zero_snr")))
    return cast(Prediction, said), zero


def refuse_quantized(header: Header, name: str) -> None:
    """Raise if a matrix is stored in a format that cannot be trained on.

    Raises:
        CheckpointError: the first such tensor is named.
    """
    for key, info in header.tensors.items():
        if info.dtype not in _TRAINABLE_DTYPES and not key.endswith("position_ids") and len(info.shape) > 1:
            raise CheckpointError(
                f"{name}: {key} is stored as {info.dtype}; quantized weights cannot be trained on or merged into, "
                "use the fp16 or fp32 file"
            )
