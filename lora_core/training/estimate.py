"""How much memory a training will take, told before it starts."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from lora_core.device import pick_device, pick_dtype, training_memory_bytes
from lora_core.diffusion.components import load_components
from lora_core.hub.layout import Part
from lora_core.lora.keys import TEXT_PARTS, module_names
from lora_core.recipe import Training


def memory_bytes(base: Mapping[str, Path], options: Training, device_name: str) -> int:
    """A rough estimate for a base model and a recipe's training; nothing is loaded.

    Raises:
        CheckpointError: the base cannot be read.
    """
    dtype = pick_dtype(options.precision, pick_device(device_name))
    components = load_components(base, device=torch.device("meta"), dtype=dtype)
    models: dict[Part, nn.Module] = {"unet": components.unet} if options.unet_lr else {}
    if options.text_encoder_lr:
        models.update(zip(TEXT_PARTS, components.text_encoders, strict=False))
    trained = 0
    for part, model in models.items():
        for path in module_names(components, part):
            outputs, inputs = model.get_parameter(f"{path}.weight").shape[:2]
            trained += options.rank * (outputs + inputs)
    return training_memory_bytes(
        (components.unet, components.vae, *components.text_encoders),
        trained,
        pixels=options.resolution**2,
        batch=options.batch,
        width=components.unet.config["block_out_channels"][0],
    )
