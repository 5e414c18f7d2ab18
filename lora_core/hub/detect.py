"""Which Stable Diffusion a single file holds, by its tensors' names, or what else it looks like."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from lora_core.errors import CheckpointError

Architecture = Literal["sd1", "sd2", "sdxl"]
Shapes = Mapping[str, Sequence[int]]
"""Of a file's tensors, by name."""

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
EMA_PREFIX = "model_ema."

_LOOKS_LIKE = (
    ("double_blocks.", "a Flux model"),
    ("joint_blocks.", "a Stable Diffusion 3 model"),
    ("double_layers.", "an AuraFlow model"),
    ("transformer_blocks.0.norm1.linear.", "a diffusion transformer such as Stable Diffusion 3 or Flux"),
    ("conditioner.embedders.0.model.", "the SDXL refiner"),
    ("time_stack.", "a video model (Stable Video Diffusion)"),
    ("motion_modules.", "AnimateDiff's motion module"),
    ("cond_stage_model.roberta.", "an AltDiffusion model"),
    ("control_model.", "a ControlNet"),
    ("input_hint_block.", "a ControlNet"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("ip_adapter.", "an IP-Adapter"),
    ("lora_unet_", "a LoRA, not a base model"),
    ("lora_te", "a LoRA, not a base model"),
    (".lora_A.", "a LoRA, not a base model"),
    (".lora_down.", "a LoRA, not a base model"),
    ("emb_params", "a textual inversion"),
)
_PIECES = (
    ("encoder.down.", "a VAE alone"),
    ("down_blocks.", "one part of a diffusers folder; name the folder instead"),
    ("text_model.", "one part of a diffusers folder; name the folder instead"),
    ("transformer.resblocks.", "a text encoder alone"),
)
_TEXT_PREFIXES = ("cond_stage_model.", "conditioner.embedders.")


def detect_architecture(keys: Shapes, name: str) -> Architecture:
    """Which Stable Diffusion a single file holds; a VAE is not needed for that.

    Raises:
        CheckpointError: none; the message says what it looks like.
    """

    def has(start: str) -> bool:
        return any(key.startswith(start) for key in keys)

    if has(UNET_PREFIX):
        if has("conditioner.embedders.0.transformer.") and has("conditioner.embedders.1.model."):
            return "sdxl"
        if has("cond_stage_model.model."):
            return "sd2"
        if has("cond_stage_model.transformer."):  # SD2's, where a converter gave it transformers' names
            return "sd2" if _has_linear_projections(keys) else "sd1"
    if wrapped := _wrapped(keys):
        raise CheckpointError(f"{name}: {wrapped}")
    for mark, what in (*_LOOKS_LIKE, *([(UNET_PREFIX, _incomplete(keys))] if has(UNET_PREFIX) else _PIECES)):
        if any(mark in key for key in keys):
            raise CheckpointError(f"{name}: this looks like {what}; a Stable Diffusion 1, 2 or XL checkpoint is needed")
    raise CheckpointError(
        f"{name}: no Stable Diffusion checkpoint in the original layout (its tensors are named like "
        f"{next(iter(sorted(keys)), 'nothing: it is empty')!r}); use one, or a diffusers folder"
    )


def _has_linear_projections(shapes: Shapes) -> bool:
    """Whether attention is entered through linear layers, as in SD2, and not through 1×1 convolutions, as in SD1."""
    return any(
        key.startswith(UNET_PREFIX) and key.endswith(".proj_in.weight") and len(shapes[key]) == 2 for key in shapes
    )


def _wrapped(keys: Collection[str]) -> str:
    """What a file is whose tensors are those of a checkpoint under other names; "" if it is none."""
    if any(key.startswith(f"{EMA_PREFIX}diffusion_model") for key in keys):
        return "EMA weights only: there is no U-Net besides its averaged copy; use the file with the plain weights"
    for key in keys:
        before, found, _ = key.partition(UNET_PREFIX)
        if found and before:
            return (
                f"a checkpoint whose tensors' names all begin with {before!r}, wrapped in a trainer's state; "
                "save it again without that"
            )
    return ""


def _incomplete(keys: Collection[str]) -> str:
    """What a file is that has a U-Net in the original layout but not all the rest."""
    if any(key.startswith(_TEXT_PREFIXES) for key in keys):
        return "a model of another kind, with the U-Net's names but other text encoders"
    vae = "" if any(key.startswith(VAE_PREFIX) for key in keys) else " and VAE"
    return f"a U-Net without its text encoder{vae}"
