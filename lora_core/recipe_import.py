"""Another trainer's config as values of a recipe, and what of it could not be taken over."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lora_core.bounded import TEXT_BYTES, json_of, read_text, read_toml
from lora_core.errors import RecipeError
from lora_core.foreign_options import KOHYA, ONETRAINER, Equivalent
from lora_core.printable import clipped, one_line, some
from lora_core.recipe import Recipe
from lora_core.recipe_file import explain

_UNSET: tuple[object, ...] = ("", None, 0, 0.0, "0", False, [], {})
_ARGUMENT = re.compile(r"([\w.]+)\s*=\s*(\S+)")
_ARGUMENTS = ("network_args", "optimizer_args")
# Done here in any case, or a matter of speed, memory, logs and files that a recipe does not have.
_NOT_NEEDED = re.compile(
    r"cache_|.*caching|.*bucket|xformers|sdpa|mem_eff|lowram|highvram|.*workers|log_|logging|wandb|save_|sample_|output_"
    r"|tensorboard|num_cpu|num_process|.*_dir$|.*dtype$|vae_batch|no_half_vae|sdxl|v2$|full_|console_|dynamo|multi_gpu"
    r"|additional_param|training_comment|max_token_length|backup|validation|train_device|temp_device|attention_mech"
    r"|debug|model_type|training_method|__version|only_cache|include_train_config|continue_last|.*_filter|samples"
    r"|unit$|train_on_input|secrets|cloud|ema_update|clear_cache|preserve_|is_reg|metadata|huggingface|gpu_ids|main_"
)
_OF_BOTH = ("resolution", "batch", "accumulation", "precision", "gradient_checkpointing")
"""Options of the character's training that the style's must share, or the two do not fit one memory and base."""


@dataclass(frozen=True)
class Imported:
    """What a config says in a recipe's words."""

    source: str
    settings: Mapping[str, Any]
    """Section and option with dots → value."""
    reasons: Mapping[str, str]
    """The same → what it was called there."""
    left_out: tuple[str, ...]
    """A line each for what could not be taken over."""


def read_config(path: Path) -> Imported:
    """Read a config of sd-scripts (TOML), kohya_ss (JSON) or OneTrainer (JSON).

    Raises:
        RecipeError: it cannot be read, or holds no option of theirs.
    """
    options = dict(_flat(_table(path)))
    foreign = "base_model_name" in options or "lora_rank" in options
    known = ONETRAINER if foreign else KOHYA
    if not known.keys() & options.keys():
        raise RecipeError(
            f"{path}: no option of sd-scripts, kohya_ss or OneTrainer in it; name the config of a LoRA training"
        )
    settings: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    left_out: list[str] = []
    not_needed: list[str] = []
    for name, value in _with_rates(options, known):
        if value in _UNSET and not (name in known and known[name].path and value in (0, False)):
            continue
        if name not in known:
            (not_needed if _NOT_NEEDED.match(name) else left_out).append(
                name if _NOT_NEEDED.match(name) else f"{name} = {_shown(value)}: no such option here"
            )
            continue
        try:
            path_here, read = known[name].path, _read(known[name], value)
        except ValueError as error:
            left_out.append(f"{name} = {_shown(value)}: {error}")
            continue
        if path_here and read is not None:
            settings[path_here], reasons[path_here] = read, f"{name} in {path.name}"
    left_out += _refused(settings, reasons)
    for option in _OF_BOTH:
        if (here := f"character_training.{option}") in settings:
            settings[f"style_training.{option}"] = settings[here]
            reasons[f"style_training.{option}"] = reasons[here]
    if not_needed:
        left_out.append(f"not needed here: {some(not_needed, 8)}")
    return Imported(path.name, settings, {key: reasons[key] for key in settings}, tuple(left_out))


def _table(path: Path) -> Mapping[str, Any]:
    if path.suffix.lower() != ".json":
        try:
            return read_toml(path, RecipeError)
        except FileNotFoundError:
            raise RecipeError(f"{path}: there is no such file; name a config of sd-scripts or OneTrainer") from None
    try:
        table = json_of(read_text(path, TEXT_BYTES, RecipeError))
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file; name a config of kohya_ss or OneTrainer") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: not a readable JSON file: {one_line(error)}") from None
    if not isinstance(table, dict):
        raise RecipeError(f"{path}: not a JSON object; name a config of kohya_ss or OneTrainer")
    return table


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Options with their values: those in sections that only group them by their own names, OneTrainer's with a dot."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            parts = name in ("unet", "text_encoder", "text_encoder_2", "optimizer", "prior", "vae", "embedding")
            yield from _flat(value, f"{name}." if parts else "")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):  # datasets and their subsets
            yield from (("concepts", len(value)),) if name in ("concepts", "samples") else _flat(value[0])
        elif name in _ARGUMENTS:
            words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield from ((found[1], found[2].strip("\"'")) for found in _ARGUMENT.finditer(words))
        else:
            yield f"{above}{name}", value


def _with_rates(options: Mapping[str, Any], known: Mapping[str, Equivalent]) -> Iterator[tuple[str, Any]]:
    """The options, a single learning rate in place of the two that are not given; switches last, for they go before."""
    rate = options.get("learning_rate")
    own = (
        ("unet.learning_rate", "text_encoder.learning_rate") if known is ONETRAINER else ("unet_lr", "text_encoder_lr")
    )
    for name in own:
        if rate not in _UNSET and options.get(name) in (None, "") and f"{name.replace('.', '_')}" not in options:
            yield name, rate
    for part, option in (("unet", own[0]), ("text_encoder", own[1])):
        if known is ONETRAINER and options.get(f"{part}.train", options.get(f"train_{part}")) is False:
            options = {**options, option: 0}
    switches = [name for name, value in options.items() if name.startswith("network_train_") or name == "dora_wd"]
    trained = ("train_unet", "train_text_encoder", "unet.train", "text_encoder.train")
    skipped = {"learning_rate", *trained, *switches}
    yield from ((name, value) for name, value in options.items() if name not in skipped)
    yield from ((name, options[name]) for name in switches)


def _read(equivalent: Equivalent, value: Any) -> Any:
    """A value in our words; None: it says nothing here.

    Raises:
        ValueError: there is no such value here.
    """
    try:
        read = equivalent.read(value)
    except ValueError as error:
        if "could not convert" in str(error) or "invalid literal" in str(error):
            raise ValueError("a number is needed") from None
        raise
    except (TypeError, OverflowError, AttributeError):
        raise ValueError("no value that is known") from None
    if not equivalent.path and equivalent.why and equivalent.read is not KOHYA["network_module"].read:
        raise ValueError(equivalent.why)
    return read


def _refused(settings: dict[str, Any], reasons: Mapping[str, str]) -> Iterator[str]:
    """Take out, with a line each, what a recipe refuses: values out of its bounds, or that exclude each other."""
    for _ in range(len(settings) + 1):
        try:
            Recipe.model_validate(nested({"name": "any", "base.model": "any", **_OTHERS, **settings}))
        except ValidationError as error:
            named = [".".join(map(str, each["loc"])) for each in error.errors()]
            bad = [key for key in settings if any(where and f"{key}.".startswith(f"{where}.") for where in named)]
            if not bad:
                return
            settings.pop(bad[-1])
            yield f"{reasons[bad[-1]]}: {explain(error, Recipe)}"
        else:
            return


_OTHERS = {"character.images": "any", "style.images": "any"}


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted names as the tables of a recipe."""
    tables: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, option = path.split(".")
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
        table[option] = value
    return tables


def _shown(value: Any) -> str:
    return clipped(one_line(value if isinstance(value, str) else repr(value)), 60)
