"""Optimizers over the LoRA's matrices, a rate for each part and block, and how the rates fall."""

import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lora_core.errors import RecipeError, TrainingError
from lora_core.lora.inject import LoraLayer
from lora_core.recipe import Training

_NAMES = {
    "adamw": "torch.optim.adamw.AdamW",
    "adamw8bit": "bitsandbytes.optim.adamw.AdamW8bit",
    "lion": "lion_pytorch.lion_pytorch.Lion",
    "prodigy": "prodigyopt.prodigy.Prodigy",
    "adafactor": "transformers.optimization.Adafactor",
}
_USUAL_RATES = {
    "adamw": (0.0, 0.01, "far above what is usual (1e-5 to 1e-3)"),
    "lion": (
        0.0,
        1e-4,
        "Lion moves every number by the whole rate; a third to a tenth of AdamW's, so 1e-5 to 3e-5, is usual",
    ),
    "prodigy": (
        0.1,
        1.0,
        "Prodigy multiplies the rate it finds by it, so next to nothing is learned; set it to 1",
    ),
}
"""Lowest, highest, and what is odd beyond them."""


def optimizer_settings(options: Training) -> Mapping[str, Any]:
    """What an optimizer is told besides its rates. Everything else is its package's default.

    Prodigy as its authors advise for diffusion models; Adafactor with the rates of the recipe instead of its own.
    """
    more: dict[str, dict[str, Any]] = {
        "prodigy": {"use_bias_correction": True, "safeguard_warmup": True},
        "adafactor": {"relative_step": False, "scale_parameter": False, "warmup_init": False},
    }
    takes_decay = not options.names_code or "weight_decay" in inspect.signature(_named(options.optimizer)).parameters
    decay = {"weight_decay": options.weight_decay} if takes_decay else {}
    return {**decay, **more.get(options.optimizer, {}), **options.optimizer_arguments}


def optimizer_name(options: Training) -> str:
    """The optimizer's class, as sd-scripts writes it into a file's metadata."""
    return _NAMES.get(options.optimizer, options.optimizer)


def check_optimizer(options: Training) -> None:
    """Refuse, before anything is loaded, an optimizer that is not installed or cannot be used.

    Raises:
        TrainingError: bitsandbytes is wanted and not there.
        RecipeError: there is no such class, or a training cannot use it.
    """
    if options.optimizer == "adamw8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise TrainingError(
            "optimizer = 'adamw8bit' needs bitsandbytes, which is not installed: pip install 'headcanon[bnb]', "
            "or use 'adamw' or 'adafactor'"
        )
    if options.names_code or options.optimizer_args:
        trial = [{"params": [torch.nn.Parameter(torch.zeros(2, 2))], "lr": 1e-3}]
        _made(optimizer_class(options.optimizer), trial, options)


def rate_remarks(options: Training) -> tuple[str, ...]:
    """What is odd about the learning rates for this optimizer, a line each."""
    if options.names_code or options.trains_word:  # a word's vectors take a hundred times a LoRA's rate
        return ()
    rates = {"unet_lr": options.unet_lr, "text_encoder_lr": options.text_encoder_lr}
    lowest, highest, why = _USUAL_RATES.get(options.optimizer, _USUAL_RATES["adamw"])
    return tuple(
        f"{name} = {rate:g} with optimizer = '{options.optimizer}': {why}"
        for name, rate in rates.items()
        if rate and not lowest <= rate <= highest
    )


def build_optimizer(layers: Sequence[LoraLayer], options: Training) -> torch.optim.Optimizer:
    """The recipe's optimizer; one parameter group for each part and block rate, with its own `base_lr`.

    AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101; 8-bit: Dettmers et al. 2022, arXiv:2110.02861), Lion (Chen et
    al. 2023, arXiv:2302.06675), Prodigy (Mishchenko and Defazio 2023, arXiv:2306.06101) or Adafactor (Shazeer and Stern
    2018, arXiv:1804.04235).

    Raises:
        TrainingError: bitsandbytes is wanted and not there.
        RecipeError: there is no such class, or it does not take these arguments.
    """
    check_optimizer(options)
    groups = _groups(layers, options)
    device = next(iter(layers[0].matrices.values())).device
    recordable = options.optimizer == "adamw" and device.type == "cuda"
    if recordable:
        groups = [group | {"lr": torch.tensor(group["lr"], device=device), "capturable": True} for group in groups]
    made = _made(optimizer_class(options.optimizer), groups, options)
    if recordable:  # torch warns of steps that could be recorded and are not; the first ones of every size never are
        made._warned_capturable_if_run_uncaptured = True
    return made


def _made(kind: Any, groups: list[dict[str, Any]], options: Training) -> torch.optim.Optimizer:
    settings = dict(optimizer_settings(options))
    rate = inspect.signature(kind).parameters.get("lr") if options.names_code else None
    if rate is not None and rate.default is inspect.Parameter.empty:
        settings["lr"] = groups[0]["lr"]  # every group has its own
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Prodigy prints
            made: torch.optim.Optimizer = kind(groups, **settings)
    except (TypeError, ValueError) as error:
        told = ", ".join(f"{name} = {value!r}" for name, value in settings.items())
        raise RecipeError(
            f"optimizer = '{options.optimizer}' does not take {told}: {error}; see optimizer_args"
        ) from error
    return made


def optimizer_class(name: str) -> Any:
    """Imported only when it is wanted."""
    if "." in name:
        return _named(name)
    if name == "lion":
        from lion_pytorch import Lion

        return Lion
    if name == "prodigy":
        from prodigyopt import Prodigy

        return Prodigy
    if name == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor
    if name == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit
    return functools.partial(torch.optim.AdamW, fused=True)  # fused: a LoRA is hundreds of small matrices


def _named(path: str) -> type[torch.optim.Optimizer]:
    """The class at a dotted path.

    Raises:
        RecipeError: there is none, it is no optimizer, or one that needs more than a step after each batch.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"optimizer = '{path}': there is no such class ({error}); install its package where headcanon is, "
            f"or use one of {', '.join(_NAMES)}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise RecipeError(f"optimizer = '{path}' is no torch.optim.Optimizer; name an optimizer's class")
    closure = inspect.signature(found.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise RecipeError(f"optimizer = '{path}' computes the loss itself, several times a step; use another one")
    if hasattr(found, "train") and hasattr(found, "eval"):
        raise RecipeError(
            f"optimizer = '{path}' saves other weights than it trains, which is not done here; use another one"
        )
    return found


def _groups(layers: Sequence[LoraLayer], options: Training) -> list[dict[str, Any]]:
    rates = {
        "unet": options.unet_lr,
        "text_encoder": options.text_encoder_lr,
        "text_encoder_2": options.text_encoder_lr,
    }
    groups: dict[tuple[str, float], list[torch.nn.Parameter]] = {}
    for part in rates:
        for layer in layers:
            if layer.part == part:
                groups.setdefault((part, rates[part] * layer.lr_factor), []).extend(layer.matrices.values())
    return [{"params": matrices, "lr": rate, "base_lr": rate} for (_, rate), matrices in groups.items()]


def rate_factor(step: int, total_steps: int, options: Training) -> float:
    """Factor on the learning rates at a step, from that alone: so a resumed run needs no state of a schedule.

    The formulas are those of transformers' `get_scheduler`, which sd-scripts uses.

    Args:
        step: counted from 0.
        total_steps: of the whole training.
        options: schedule, warm-up and restarts.
    """
    if step < options.warmup_steps:
        return step / options.warmup_steps
    done = (step - options.warmup_steps) / max(1, total_steps - options.warmup_steps)
    if options.scheduler == "linear":
        return max(0.0, 1.0 - done)
    if options.scheduler == "cosine":
        return max(0.0, (1.0 + math.cos(math.pi * done)) / 2)
    if options.scheduler == "cosine_with_restarts":
        return 0.0 if done >= 1 else max(0.0, (1.0 + math.cos(math.pi * (options.restarts * done % 1.0))) / 2)
    return 1.0


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's learning rate as its own times a factor."""
    for group in optimizer.param_groups:
        rate = group["base_lr"] * factor
        if isinstance(group["lr"], torch.Tensor):  # a recorded step reads it there
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
