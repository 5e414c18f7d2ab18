"""How much memory a training takes, and how its models are held where a card does not hold them as the recipe says."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lora_core.device import card_bytes, pick_device, pick_dtype, training_memory_bytes
from lora_core.diffusion.components import Components, load_components, without_weights
from lora_core.errors import TrainingError
from lora_core.lora import int8
from lora_core.lora.base import targets, trainable_paths
from lora_core.recipe import Process, Training
from lora_core.training.batch import TextReader

_log = logging.getLogger(__name__)
_SAVED_MAPS = {"sd1": 360, "sd2": 360, "sdxl": 650}
"""Counted from the tensors that autograd saves in one pass of the full-size U-Nets with a LoRA of rank 32, in fp32 and
between 256 and 1024 px, attention computed without its matrix: 1.7 GiB for SD1.5 at 512 px, 12.6 GiB for SDXL at
1024 px.
"""
_MAPS_COMPUTED_TWICE = 100
"""With gradient checkpointing, from the memory that a pass at 512 px took: SD1.5 89 maps, SDXL 35."""
_NUMBER_BYTES = {"adamw": 16, "adamw8bit": 10, "lion": 12, "prodigy": 24, "adafactor": 9}
"""Of a trained number: its fp32 value and gradient, and what the optimizer keeps of it."""
_MOST_NUMBER_BYTES = max(_NUMBER_BYTES.values())
"""Of one that is named by its class: nobody knows."""
_SAVED_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
_AVERAGE_BYTES = 4
_HALF_PRECISION_SHARE = 1.5
"""Under autocast norms and sums are kept in fp32: counted likewise, 1.5 times as many maps of half the size."""


class Need(NamedTuple):
    """What a training takes."""

    bytes: int
    text: str
    """In words, with what is saved."""


def need(base: Mapping[str, Path], options: Training, device_name: str, process: Process | None = None) -> Need:
    """A rough estimate for a base model and a recipe's training; nothing is loaded.

    Raises:
        CheckpointError: the base cannot be read, or cannot be trained as the recipe says.
    """
    device = pick_device(device_name)
    dtype, limit = pick_dtype(options.precision, device), card_bytes(device)
    components = load_components(base, device=torch.device("meta"), dtype=dtype, process=process)
    options = settled(options, limit, lambda: components)
    needed = memory_of(components, options)
    return Need(needed, saving_text(options, needed, limit))


def memory_of(components: Components, options: Training) -> int:
    """The same for models that are there, on the meta device or any other; they are left as they are.

    `memory_saving` counts as it is settled; "auto" as nothing saved.

    Raises:
        CheckpointError: the base cannot be trained as the recipe says.
    """
    trained = _trained_numbers(components, options)
    number_bytes = _NUMBER_BYTES.get(options.optimizer, _MOST_NUMBER_BYTES) + _AVERAGE_BYTES * (options.ema_decay > 0)
    saved = _MAPS_COMPUTED_TWICE if options.gradient_checkpointing else _SAVED_MAPS[components.architecture]
    saving, unet = options.memory_saving, components.unet
    others = () if saving in _AWAY and texts_are_fixed(options) else components.text_encoders
    saved_bytes = sum(map(int8.saved_bytes, linear_layers(components))) if saving == "int8" else 0
    return -saved_bytes + training_memory_bytes(
        (unet, *(() if saving in _AWAY else (components.vae,)), *others),
        trained * number_bytes,
        pixels=options.resolution**2,
        batch=options.batch,
        width=unet.config["block_out_channels"][0],
        saved_maps=saved * (1 if unet.dtype == torch.float32 else _HALF_PRECISION_SHARE),
    )


_AWAY = ("offload", "int8")


def texts_are_fixed(options: Training) -> bool:
    """Whether text encoders say all that they have to say before the first step."""
    return not (options.text_encoder_lr or options.shuffle_caption or options.tag_dropout)


def linear_layers(components: Components) -> list[nn.Linear]:
    """The U-Net's linear layers that are held in 8 bits: those in its transformers, 86 % of SDXL's numbers."""
    layers = (components.unet.get_submodule(path) for path in trainable_paths(components, "unet"))
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def settled(options: Training, limit_bytes: int | None, models: Callable[[], Components]) -> Training:
    """The options with what is saved where the recipe leaves it open: the least that fits the card.

    Args:
        options: of the training.
        limit_bytes: that the card has for it; None: there is no card.
        models: gives the base, whose models may be on the meta device; not asked without need.
    """
    if options.memory_saving != "auto":
        return options
    ways = [options.model_copy(update=changes) for changes in _ways(options)]
    if limit_bytes is None:
        return ways[0]
    components = models()
    return next((way for way in ways if memory_of(components, way) <= limit_bytes), ways[-1])


def _ways(options: Training) -> Iterator[Mapping[str, str | bool]]:
    """From nothing saved to all that can be."""
    yield {"memory_saving": "off"}
    yield {"memory_saving": "offload"}
    yield {"memory_saving": "offload", "gradient_checkpointing": True}
    if options.network.kind != "dora" and int8.is_available():
        yield {"memory_saving": "int8", "gradient_checkpointing": True}


def check_memory_saving(options: Training) -> None:
    """Refuse 8 bits where nothing can hold them.

    Raises:
        TrainingError: bitsandbytes is wanted and not there.
    """
    if options.memory_saving == "int8" and not int8.is_available():
        raise TrainingError(
            "memory_saving = 'int8' needs bitsandbytes, which is not installed: pip install 'headcanon[bnb]', or set "
            "memory_saving = 'offload'"
        )


def saving_text(options: Training, needed_bytes: int, limit_bytes: int | None) -> str:
    """What it takes and what is saved, and whether that is enough."""
    room = f" of the {limit_bytes / 1e9:.1f} that the card has for it" if limit_bytes else ""
    away = "VAE and text encoders" if texts_are_fixed(options) else "VAE"
    ways = [
        *([f"{away} off the card after encoding"] if options.memory_saving in _AWAY else []),
        *(["gradient checkpointing"] if options.gradient_checkpointing else []),
        *(["the U-Net's linear layers in 8 bits"] if options.memory_saving == "int8" else []),
        *(["too much even so: batches go in parts"] if limit_bytes and needed_bytes > limit_bytes else []),
    ]
    return f"about {needed_bytes / 1e9:.1f} GB{room}" + (f": {', '.join(ways)}" if ways else "")


def settle_memory(
    base: Mapping[str, Path], options: Training, device: torch.device, dtype: torch.dtype, process: Process | None
) -> Training:
    """The options as the device holds them; what was chosen is said."""
    limit = card_bytes(device)

    def empty() -> Components:
        return without_weights(base, dtype=dtype, process=process)

    chosen = settled(options, limit, empty)
    if chosen.memory_saving not in ("off", options.memory_saving):
        _log.warning("memory: %s", saving_text(chosen, memory_of(empty(), chosen), limit))
    return chosen


def read_ahead(
    components: Components, captions: Iterable[str], options: Training, device: torch.device, clip_skip: int
) -> TextReader:
    """What frozen text encoders say to every caption, and to none; their weights are let go then."""
    for encoder in components.text_encoders:
        encoder.to(device)
    dtype = components.unet.dtype
    reader = TextReader(
        components, clip_skip=clip_skip, trained=False, remember=True, most_tokens=options.max_token_length
    )
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for caption in dict.fromkeys((*captions, "")):
            reader.rows([caption])
    for encoder in components.text_encoders:
        encoder.to("meta")
    return reader


def enable_gradient_checkpointing(components: Components) -> None:
    """Let the models compute their blocks once more on the way back instead of keeping what was computed."""
    components.unet.enable_gradient_checkpointing()
    for encoder in components.text_encoders:
        encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for module in encoder.modules():
            if hasattr(module, "gradient_checkpointing"):  # it does so in training mode only
                module.training = True


def disk_bytes(components: Components, options: Training) -> int:
    """What a training writes: a file for every epoch, and its state."""
    state_bytes = _NUMBER_BYTES.get(options.optimizer, _MOST_NUMBER_BYTES)
    number_bytes = _SAVED_BYTES[options.save_precision] * options.epochs + state_bytes
    return _trained_numbers(components, options) * number_bytes


def _trained_numbers(components: Components, options: Training) -> int:
    """Of all LoRA matrices together."""
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
    return trained
