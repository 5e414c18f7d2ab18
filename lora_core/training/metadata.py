"""What the header of a LoRA file says about its training: the keys that web UIs read, each with a true value.

Names and formats are sd-scripts' (`ss_*`, all values strings) and Stability's model spec (`modelspec.*`). Dates,
session ids and whatever else would differ between two equal runs are left out, so that equal runs give equal bytes.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lora_core.captions.tags import spaced
from lora_core.diffusion.schedule import TRAIN_STEPS
from lora_core.diffusion.source import Prediction
from lora_core.hub.detect import Architecture
from lora_core.hub.find import OTHER_VAE
from lora_core.lora.metadata import BASE_VERSIONS
from lora_core.recipe import Training
from lora_core.store import Tree
from lora_core.training.optim import optimizer_name, optimizer_settings
from lora_core.training.plan import Plan
from lora_core.training.samples import Picture, TrainingSet

_SPEC_ARCHITECTURES = {
    ("sd1", "epsilon"): "stable-diffusion-v1",
    ("sd1", "v_prediction"): "stable-diffusion-v1",
    ("sd2", "epsilon"): "stable-diffusion-v2-512",
    ("sd2", "v_prediction"): "stable-diffusion-v2-768-v",
    ("sdxl", "epsilon"): "stable-diffusion-xl-v1-base",
    ("sdxl", "v_prediction"): "stable-diffusion-xl-v1-base",
}


@dataclass(frozen=True)
class Metadata:
    """Everything about a training that its files tell.

    Attributes:
        name: of the LoRA.
        trigger: the word that calls it; "" if none.
        base: the base model's files.
        architecture: "sd1", "sd2" or "sdxl".
        prediction: what the U-Net predicts.
        zero_terminal_snr: whether the last timestep was pure noise.
        clip_skip: counted from the end; SDXL has none.
        precision: in which the frozen model computed: "fp32", "bf16" or "fp16".
        sets: of the training.
        pictures: of the training.
        layout: its figures.
        options: its options.
        caption_chunks: chunks of 75 tokens that the longest caption has.
        start: the LoRA file that the training began with; "": none.
    """

    name: str
    trigger: str
    base: Tree
    architecture: Architecture
    prediction: Prediction
    zero_terminal_snr: bool
    clip_skip: int
    precision: str
    sets: Sequence[TrainingSet]
    pictures: Sequence[Picture]
    layout: Plan
    options: Training
    caption_chunks: int = 1
    start: str = ""


def lora_metadata(metadata: Metadata, *, epoch: int, steps: int) -> dict[str, str]:
    """The header of the file of an epoch (counted from 1) after so many steps."""
    return {
        **_model(metadata),
        **_data(metadata),
        **_optimization(metadata.options),
        "ss_epoch": str(epoch),
        "ss_steps": str(steps),
        "ss_max_train_steps": str(metadata.layout.total_steps),
        "ss_num_epochs": str(metadata.options.epochs),
    }


def _model(metadata: Metadata) -> dict[str, str]:
    options = metadata.options
    side, kind = options.resolution, "textual-inversion" if options.trains_word else "lora"
    found = {
        "ss_output_name": metadata.name,
        "ss_base_model_version": _base_version(metadata),
        "ss_v2": str(metadata.architecture == "sd2"),
        **({} if options.trains_word else _network(options)),
        "ss_mixed_precision": "no" if metadata.precision == "fp32" else metadata.precision,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{_SPEC_ARCHITECTURES[metadata.architecture, metadata.prediction]}/{kind}",
        "modelspec.implementation": "diffusers",
        "modelspec.title": metadata.name,
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.prediction_type": "epsilon" if metadata.prediction == "epsilon" else "v",
    }
    if metadata.architecture != "sdxl":
        found["ss_clip_skip"] = str(metadata.clip_skip)
    if metadata.zero_terminal_snr:
        found["ss_zero_terminal_snr"] = "True"
    if metadata.trigger:
        worn = dict.fromkeys(spaced(each.outfit) for each in metadata.sets if each.outfit)
        found["ss_training_comment"] = f"trigger: {', '.join((metadata.trigger, *worn))}"
        found["modelspec.trigger_phrase"] = metadata.trigger
    own = {name: file for name, file in metadata.base.files.items() if not name.startswith(OTHER_VAE)}
    if other := next(iter(metadata.base.files.keys() - own.keys()), ""):
        found["ss_vae_name"] = other.removeprefix(OTHER_VAE)
    if len(own) == 1:
        ((name, file),) = own.items()
        found["ss_sd_model_name"] = name
        found["ss_new_sd_model_hash"] = file.sha256
    if metadata.start:
        found["headcanon.start"] = metadata.start
    return found


def _base_version(metadata: Metadata) -> str:
    """sd-scripts marks v-prediction in the names of SD1 and SD2 only."""
    marked = metadata.architecture != "sdxl" and metadata.prediction == "v_prediction"
    return BASE_VERSIONS[metadata.architecture] + ("_v" if marked else "")


def _data(metadata: Metadata) -> dict[str, str]:
    training = [each for each in metadata.sets if not each.regularization]
    regularization = [each for each in metadata.sets if each.regularization]
    return {
        "ss_resolution": f"({metadata.options.resolution}, {metadata.options.resolution})",
        "ss_num_train_images": str(sum(len(each.manifest.entries) * each.repeats for each in training)),
        "ss_num_reg_images": str(sum(len(each.manifest.entries) * each.repeats for each in regularization)),
        "ss_num_batches_per_epoch": str(metadata.layout.steps_per_epoch),
        "ss_dataset_dirs": json.dumps(_folders(metadata, regularization=False)),
        "ss_reg_dataset_dirs": json.dumps(_folders(metadata, regularization=True)),
        "ss_tag_frequency": json.dumps(_tag_frequency(metadata), ensure_ascii=False),
        "ss_enable_bucket": "True",
        "ss_bucket_info": json.dumps(
            {
                "buckets": {
                    str(index): {"resolution": list(bucket.size), "count": bucket.samples}
                    for index, bucket in enumerate(metadata.layout.buckets)
                }
            }
        ),
        "ss_cache_latents": "True",
        "ss_shuffle_caption": str(metadata.options.shuffle_caption),
        "ss_keep_tokens": str(metadata.options.keep_tokens),
        "ss_caption_dropout_rate": str(metadata.options.caption_dropout),
        **({"ss_max_token_length": str(metadata.options.max_token_length)} if metadata.caption_chunks > 1 else {}),
    }


def _folders(metadata: Metadata, *, regularization: bool) -> dict[str, dict[str, int]]:
    return {
        _folder(metadata, index): {"n_repeats": each.repeats, "img_count": len(each.manifest.entries)}
        for index, each in enumerate(metadata.sets)
        if each.regularization == regularization
    }


def _folder(metadata: Metadata, index: int) -> str:
    """A set's name as sd-scripts would call its folder: repeats, then words."""
    each = metadata.sets[index]
    worn = f" {spaced(each.outfit)}" if each.outfit else ""
    called = f"{metadata.trigger or metadata.name}{worn} {each.resolution_px}px"
    words = each.class_tokens if each.regularization else called
    return f"{each.repeats}_{words or 'regularization'}"


def _tag_frequency(metadata: Metadata) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for picture in metadata.pictures:
        counts.setdefault(_folder(metadata, picture.set_index), Counter()).update(tag for tag in picture.tags)
    return {folder: dict(count.most_common()) for folder, count in counts.items()}


def _optimization(options: Training) -> dict[str, str]:
    settings = ",".join(f"{key}={value}" for key, value in optimizer_settings(options).items())
    found = {
        "ss_optimizer": optimizer_name(options),
        "ss_optimizer_args": settings,
        "ss_learning_rate": str(options.unet_lr),
        "ss_unet_lr": str(options.unet_lr),
        "ss_text_encoder_lr": str(options.text_encoder_lr),
        "ss_lr_scheduler": _scheduler(options),
        "ss_lr_warmup_steps": str(options.warmup_steps),
        "ss_batch_size_per_device": str(options.batch),
        "ss_total_batch_size": str(options.batch),
        "ss_gradient_accumulation_steps": str(options.accumulation),
        "ss_gradient_checkpointing": str(options.gradient_checkpointing),
        "ss_max_grad_norm": str(options.max_grad_norm),
        "ss_min_snr_gamma": _or_none(options.min_snr_gamma),
        "ss_debiased_estimation": str(options.debiased),
        "ss_noise_offset": _or_none(options.noise.offset),
        "ss_multires_noise_iterations": _or_none(options.noise.multires_iterations),
        "ss_multires_noise_discount": str(options.noise.multires_discount),
        "ss_ip_noise_gamma": _or_none(options.noise.input_perturbation),
        "ss_prior_loss_weight": str(options.prior_loss_weight),
        "ss_loss_type": options.loss,
        "ss_seed": str(options.seed),
    }
    if options.loss != "l2":
        found |= {"ss_huber_c": str(options.huber_c), "ss_huber_schedule": options.huber_schedule}
    if options.min_timestep or options.max_timestep < TRAIN_STEPS:
        found |= {"ss_min_timestep": str(options.min_timestep), "ss_max_timestep": str(options.max_timestep)}
    if options.tag_dropout:
        found["ss_caption_tag_dropout_rate"] = str(options.tag_dropout)
    ours = {"headcanon.prior_preservation": "teacher"} if options.prior_preservation == "teacher" else {}
    if options.masked_loss:
        ours["headcanon.masked_loss"] = "True"
    if options.ema_decay:
        ours["headcanon.ema_decay"] = str(options.ema_decay)
    return found | ours


def _scheduler(options: Training) -> str:
    if options.scheduler == "constant":
        return "constant_with_warmup" if options.warmup_steps else "constant"
    return options.scheduler


def _network(options: Training) -> dict[str, str]:
    """sd-scripts' own module for what it can train itself, LyCORIS' for the rest, and the arguments in their words."""
    network = options.network
    lycoris = network.kind != "lora"
    arguments: dict[str, object] = {"algo": network.kind.replace("dora", "locon")} if lycoris else {}
    if network.kind == "dora":
        arguments |= {"dora_wd": True, "wd_on_output": False}
    if network.kind == "lokr":
        arguments["factor"] = network.factor or -1
    if network.conv_rank or lycoris:  # LyCORIS' default is network_dim
        arguments["conv_dim"] = network.conv_rank
        arguments["conv_alpha"] = network.conv_alpha or options.alpha / options.rank * network.conv_rank
    for name in ("text_encoder_rank", "text_encoder_alpha", "rank_dropout", "module_dropout"):
        if value := getattr(network, name):
            arguments[name] = value
    for name in ("block_lr", "block_rank"):
        if entries := getattr(network, name):
            arguments[name] = ", ".join(entries)
    found = {
        "ss_network_module": "lycoris.kohya" if lycoris else "networks.lora",
        "ss_network_dim": str(options.rank),
        "ss_network_alpha": str(options.alpha),
        "ss_network_dropout": _or_none(network.dropout),
        "ss_scale_weight_norms": _or_none(network.max_norm),
    }
    if arguments:
        found["ss_network_args"] = json.dumps({key: str(value) for key, value in arguments.items()})
    return found


def _or_none(value: float) -> str:
    return str(value) if value else "None"
