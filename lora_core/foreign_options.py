"""Options of other trainers, and where they are here: for hints, and for `headcanon new --from`.

Names are sd-scripts' and kohya_ss' (`train_network.py`, its dataset files, the GUI's JSON), and OneTrainer's (its
presets' JSON; what is nested there has a dot here).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple


class Equivalent(NamedTuple):
    """Where an option of another trainer is here."""

    path: str
    """Section and option; "": there is none."""
    read: Callable[[Any], Any] = lambda value: value
    """Their value as ours.

    Raises:
        ValueError: there is no such value here; the message says why.
    """
    why: str = ""
    """Where there is none: what to do."""


def number(value: Any) -> float:
    """A number, also as text. Raises: ValueError."""
    found = float(value)
    return int(found) if found.is_integer() and abs(found) >= 1 else found


def _one_of(names: Mapping[str, str], what: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if (found := names.get(str(value).strip().lower())) is None:
            raise ValueError(f"{what}; here are {', '.join(dict.fromkeys(names.values()))}")
        return found

    return read


def _side(value: Any) -> int:
    """One side of `512`, `"512"`, `"512,768"` or `[512, 768]`, which is trained in squares here."""
    sides = {int(side) for side in (value if isinstance(value, list) else re.split(r"[,x]", str(value)))}
    if len(sides) != 1:
        raise ValueError("pictures are trained as squares here: write one number")
    return sides.pop()


def _steps(value: Any) -> float:
    found = number(value)
    if 0 < found < 1:
        raise ValueError("a share of all steps; here it is a number of steps")
    return found


def _first(value: Any) -> float:
    rates = [number(each) for each in (value if isinstance(value, list) else str(value).split())]
    if len(set(rates)) > 1:
        raise ValueError("a rate for each text encoder; here both have one")
    return rates[0]


def _when(result: Any) -> Callable[[Any], Any]:
    """For a switch that means another option's value."""
    return lambda value: result if _is_on(value) else None


def _is_on(value: Any) -> bool:
    return str(value).strip().lower() not in ("", "0", "false", "off", "none", "0.0")


_OPTIMIZERS = _one_of(
    {
        "adamw": "adamw", "adam": "adamw", "adamw8bit": "adamw8bit", "adamw_8bit": "adamw8bit", "lion": "lion",
        "prodigy": "prodigy", "adafactor": "adafactor",
    },
    "no such optimizer here",
)  # fmt: skip
_SCHEDULERS = _one_of(
    {
        "constant": "constant", "constant_with_warmup": "constant", "linear": "linear", "cosine": "cosine",
        "cosine_with_restarts": "cosine_with_restarts",
    },
    "no such schedule here",
)  # fmt: skip
_DTYPES = {
    "no": "fp32", "fp32": "fp32", "float": "fp32", "float_32": "fp32", "tfloat_32": "fp32", "fp16": "fp16",
    "float_16": "fp16", "bf16": "bf16", "bfloat_16": "bf16",
}  # fmt: skip
_PRECISIONS = _one_of(_DTYPES, "no such precision here")
_ALGORITHMS = _one_of(
    {
        "lora": "lora", "locon": "lora", "standard": "lora", "kohya locon": "lora", "lycoris/locon": "lora",
        "loha": "loha", "lycoris/loha": "loha", "lokr": "lokr", "lycoris/lokr": "lokr", "dora": "dora",
    },
    "no such kind here",
)  # fmt: skip
_MODULES = _one_of(
    {"networks.lora": "", "lycoris.kohya": "", "networks.lora_fa": ""},
    "no such network here; what it writes is not ours",
)
_LOSSES = _one_of({"l2": "l2", "huber": "huber", "smooth_l1": "smooth_l1"}, "no such loss here")
_LINE = "character_training."
_NETWORK, _NOISE = _LINE + "network.", _LINE + "noise."

SHARED: Mapping[str, Equivalent] = {
    "resolution": Equivalent(_LINE + "resolution", _side),
    "gradient_accumulation_steps": Equivalent(_LINE + "accumulation", number),
    "gradient_checkpointing": Equivalent(_LINE + "gradient_checkpointing", _is_on),
    "min_snr_gamma": Equivalent(_LINE + "min_snr_gamma", number),
    "seed": Equivalent(_LINE + "seed", number),
    "learning_rate": Equivalent("", why="write unet_lr and text_encoder_lr under [character_training]"),
    "weight_decay": Equivalent(_LINE + "weight_decay", number),
}
KOHYA: Mapping[str, Equivalent] = {
    **SHARED,
    "network_dim": Equivalent(_LINE + "rank", number),
    "network_alpha": Equivalent(_LINE + "alpha", number),
    "unet_lr": Equivalent(_LINE + "unet_lr", number),
    "text_encoder_lr": Equivalent(_LINE + "text_encoder_lr", _first),
    "network_train_unet_only": Equivalent(_LINE + "text_encoder_lr", _when(0)),
    "network_train_text_encoder_only": Equivalent(_LINE + "unet_lr", _when(0)),
    "train_batch_size": Equivalent(_LINE + "batch", number),
    "batch_size": Equivalent(_LINE + "batch", number),
    "max_train_epochs": Equivalent(_LINE + "epochs", number),
    "num_train_epochs": Equivalent(_LINE + "epochs", number),
    "epoch": Equivalent(_LINE + "epochs", number),
    "num_repeats": Equivalent(_LINE + "repeats", number),
    "optimizer_type": Equivalent(_LINE + "optimizer", _OPTIMIZERS),
    "optimizer": Equivalent(_LINE + "optimizer", _OPTIMIZERS),
    "use_8bit_adam": Equivalent(_LINE + "optimizer", _when("adamw8bit")),
    "use_lion_optimizer": Equivalent(_LINE + "optimizer", _when("lion")),
    "lr_scheduler": Equivalent(_LINE + "scheduler", _SCHEDULERS),
    "lr_scheduler_num_cycles": Equivalent(_LINE + "restarts", number),
    "lr_warmup_steps": Equivalent(_LINE + "warmup_steps", _steps),
    "lr_warmup": Equivalent("", why="a share of all steps in the GUI; write warmup_steps"),
    "max_grad_norm": Equivalent(_LINE + "max_grad_norm", number),
    "debiased_estimation_loss": Equivalent(_LINE + "debiased", _is_on),
    "masked_loss": Equivalent(_LINE + "masked_loss", _is_on),
    "alpha_mask": Equivalent(_LINE + "masked_loss", _is_on),
    "prior_loss_weight": Equivalent(_LINE + "prior_loss_weight", number),
    "shuffle_caption": Equivalent(_LINE + "shuffle_caption", _is_on),
    "keep_tokens": Equivalent(_LINE + "keep_tokens", number),
    "caption_dropout_rate": Equivalent(_LINE + "caption_dropout", number),
    "caption_tag_dropout_rate": Equivalent(_LINE + "tag_dropout", number),
    "max_token_length": Equivalent(_LINE + "max_token_length", number),
    "min_timestep": Equivalent(_LINE + "min_timestep", number),
    "max_timestep": Equivalent(_LINE + "max_timestep", number),
    "loss_type": Equivalent(_LINE + "loss", _LOSSES),
    "huber_c": Equivalent(_LINE + "huber_c", number),
    "huber_schedule": Equivalent(_LINE + "huber_schedule", str),
    "text_encoder_lr1": Equivalent("", why='write [character_training.network] block_lr, such as "TE1 = 0.5"'),
    "text_encoder_lr2": Equivalent("", why='write [character_training.network] block_lr, such as "TE2 = 0.5"'),
    "mixed_precision": Equivalent(_LINE + "precision", _PRECISIONS),
    "save_precision": Equivalent(_LINE + "save_precision", _PRECISIONS),
    "max_resolution": Equivalent(_LINE + "resolution", _side),
    "noise_offset": Equivalent(_NOISE + "offset", number),
    "multires_noise_iterations": Equivalent(_NOISE + "multires_iterations", number),
    "multires_noise_discount": Equivalent(_NOISE + "multires_discount", number),
    "ip_noise_gamma": Equivalent(_NOISE + "input_perturbation", number),
    "scale_weight_norms": Equivalent(_NETWORK + "max_norm", number),
    "network_dropout": Equivalent(_NETWORK + "dropout", number),
    "rank_dropout": Equivalent(_NETWORK + "rank_dropout", number),
    "module_dropout": Equivalent(_NETWORK + "module_dropout", number),
    "conv_dim": Equivalent(_NETWORK + "conv_rank", number),
    "conv_alpha": Equivalent(_NETWORK + "conv_alpha", number),
    "algo": Equivalent(_NETWORK + "kind", _ALGORITHMS),
    "LoRA_type": Equivalent(_NETWORK + "kind", _ALGORITHMS),
    "dora_wd": Equivalent(_NETWORK + "kind", _when("dora")),
    "factor": Equivalent(_NETWORK + "factor", lambda value: max(0, int(number(value)))),
    "network_module": Equivalent("", _MODULES, why="a kind of network that is not trained here"),
    "clip_skip": Equivalent("base.clip_skip", number),
    "v_parameterization": Equivalent("base.prediction", _when("v_prediction")),
    "zero_terminal_snr": Equivalent("base.zero_terminal_snr", _is_on),
    "pretrained_model_name_or_path": Equivalent("base.model", str),
    "output_name": Equivalent("name", str),
    "train_data_dir": Equivalent("character.images", str),
    "image_dir": Equivalent("character.images", str),
    "max_train_steps": Equivalent("", why="training is counted in epochs here: [character_training] epochs"),
    "reg_data_dir": Equivalent("", why="stage 1's screenshots are the regularization pictures: style = FOLDER"),
    "caption_extension": Equivalent("", why="captions are made here; .txt and .caption come in with caption --import"),
    "network_weights": Equivalent("", why="a training does not start from another LoRA here"),
    "block_dims": Equivalent("", why="write [character_training.network] block_rank, such as \"MID = 64\""),
    "down_lr_weight": Equivalent("", why="write [character_training.network] block_lr, such as \"IN = 0.5\""),
    "mid_lr_weight": Equivalent("", why="write [character_training.network] block_lr, such as \"MID = 0.5\""),
    "up_lr_weight": Equivalent("", why="write [character_training.network] block_lr, such as \"OUT = 0.5\""),
}  # fmt: skip
_TRAINS = "a part is trained where its rate is above 0"
ONETRAINER: Mapping[str, Equivalent] = {
    **SHARED,
    "lora_rank": Equivalent(_LINE + "rank", number),
    "lora_alpha": Equivalent(_LINE + "alpha", number),
    "peft_type": Equivalent(_NETWORK + "kind", _ALGORITHMS),
    "lora_decompose": Equivalent(_NETWORK + "kind", _when("dora")),
    "unet.learning_rate": Equivalent(_LINE + "unet_lr", number),
    "unet_learning_rate": Equivalent(_LINE + "unet_lr", number),
    "text_encoder.learning_rate": Equivalent(_LINE + "text_encoder_lr", number),
    "text_encoder_learning_rate": Equivalent(_LINE + "text_encoder_lr", number),
    "batch_size": Equivalent(_LINE + "batch", number),
    "epochs": Equivalent(_LINE + "epochs", number),
    "optimizer": Equivalent(_LINE + "optimizer", _OPTIMIZERS),
    "optimizer.optimizer": Equivalent(_LINE + "optimizer", _OPTIMIZERS),
    "optimizer.weight_decay": Equivalent(_LINE + "weight_decay", number),
    "learning_rate_scheduler": Equivalent(_LINE + "scheduler", _SCHEDULERS),
    "learning_rate_cycles": Equivalent(_LINE + "restarts", number),
    "learning_rate_warmup_steps": Equivalent(_LINE + "warmup_steps", _steps),
    "clip_grad_norm": Equivalent(_LINE + "max_grad_norm", number),
    "masked_training": Equivalent(_LINE + "masked_loss", _is_on),
    "train_dtype": Equivalent(_LINE + "precision", _PRECISIONS),
    "output_dtype": Equivalent(_LINE + "save_precision", _PRECISIONS),
    "offset_noise_weight": Equivalent(_NOISE + "offset", number),
    "perturbation_noise_weight": Equivalent(_NOISE + "input_perturbation", number),
    "dropout_probability": Equivalent(_NETWORK + "dropout", number),
    "base_model_name": Equivalent("base.model", str),
    "force_v_prediction": Equivalent("base.prediction", _when("v_prediction")),
    "force_epsilon_prediction": Equivalent("base.prediction", _when("epsilon")),
    "rescale_noise_scheduler_to_zero_terminal_snr": Equivalent("base.zero_terminal_snr", _is_on),
    "text_encoder_layer_skip": Equivalent("base.clip_skip", lambda value: int(number(value)) + 1),
    "concept_file_name": Equivalent("", why="name the folder of screenshots: character = FOLDER"),
    "concepts": Equivalent("", why="name the folder of screenshots: character = FOLDER"),
    "unet.train": Equivalent("", why=_TRAINS),
    "text_encoder.train": Equivalent("", why=_TRAINS),
}


def hint(name: str, sections: Mapping[str, Iterable[str]]) -> str:
    """Where an option that is unknown at its place is here, or what to do instead; "" if that is not known.

    Args:
        name: as somebody wrote it.
        sections: this recipe's sections with their options.
    """
    here = [title for title, options in sections.items() if name in options and title]
    if here:
        return f"it belongs under {' or '.join(f'[{title}]' for title in here[:3])}"
    found = KOHYA.get(name) or ONETRAINER.get(name)
    if found is None:
        return ""
    section, _, option = found.path.rpartition(".")
    return f"here it is {option}{f', under [{section}]' if section else ''}" if option else found.why
