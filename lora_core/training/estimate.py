"""How much memory a training will take, told before it starts."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch

from lora_core.device import pick_device, pick_dtype, training_memory_bytes
from lora_core.diffusion.components import load_components
from lora_core.lora.base import targets
from lora_core.recipe import Process, Training

_SAVED_MAPS = {"sd1": 360, "sd2": 360, "sdxl": 650}
"""Counted from the tensors that autograd saves in one pass of the full-size U-Nets with a LoRA of rank 32, in fp32 and
between 256 and 1024 px, attention computed without its matrix: 1.7 GiB for SD1.5 at 512 px, 12.6 GiB for SDXL at
1024 px.
"""
_MAPS_COMPUTED_TWICE = 100
"""With gradient checkpointing, from the memory that a pass at 512 px took: SD1.5 89 maps, SDXL 35."""
_NUMBER_BYTES = {"adamw": 16, "adamw8bit": 10, "lion": 12, "prodigy": 24, "adafactor": 9}
"""Of a trained number: its fp32 value and gradient, and what the optimizer keeps of it."""
_AVERAGE_BYTES = 4
_HALF_PRECISION_SHARE = 1.5
"""Under autocast norms and sums are kept in fp32: counted likewise, 1.5 times as many maps of half the size."""


def memory_bytes(base: Mapping[str, Path], options: Training, device_name: str, process: Process | None = None) -> int:
    """A rough estimate for a base model and a recipe's training; nothing is loaded.

    Raises:
        CheckpointError: the base cannot be read, or cannot be trained as the recipe says.
    """
    dtype = pick_dtype(options.precision, pick_device(device_name))
    components = load_components(base, device=torch.device("meta"), dtype=dtype, process=process)
    trained = 0
    for target in targets(
        components,
        options.network,
        rank=options.rank,
        alpha=options.alpha,
        unet=options.unet_lr > 0,
        text_encoder=options.text_encoder_lr > 0,
    ):
        model = components.unet if target.part == "unet" else components.text_encoders[target.part == "text_encoder_2"]
        outputs, *inputs = model.get_parameter(f"{target.path}.weight").shape
        trained += target.rank * (outputs + prod(inputs))
    number_bytes = _NUMBER_BYTES[options.optimizer] + _AVERAGE_BYTES * (options.ema_decay > 0)
    saved = _MAPS_COMPUTED_TWICE if options.gradient_checkpointing else _SAVED_MAPS[components.architecture]
    return training_memory_bytes(
        (components.unet, components.vae, *components.text_encoders),
        trained * number_bytes,
        pixels=options.resolution**2,
        batch=options.batch,
        width=components.unet.config["block_out_channels"][0],
        saved_maps=saved * (1 if dtype == torch.float32 else _HALF_PRECISION_SHARE),
    )
