"""What the header of a LoRA file says about its training: the keys that web UIs read, each with a true value.

Names and formats are sd-scripts' (`ss_*`, all values strings) and Stability's model spec (`modelspec.*`). Dates,
session ids and whatever else would differ between two equal runs are left out, so that equal runs give equal bytes.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lora_core.diffusion.source import Prediction
from lora_core.hub.layout import Architecture
from lora_core.recipe import Training
from lora_core.store import Tree
from lora_core.training.plan import Plan
from lora_core.training.samples import Picture, TrainingSet

_BASE_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
_SPEC_ARCHITECTURES = {
    ("sd1", "epsilon"): "stable-diffusion-v1",
    ("sd1", "v_prediction"): "stable-diffusion-v1",
    ("sd2", "epsilon"): "stable-diffusion-v2-512",
    ("sd2", "v_prediction"): "stable-diffusion-v2-768-v",
    ("sdxl", "epsilon"): "stable-diffusion-xl-v1-base",
    ("sdxl", "v_prediction"): "stable-diffusion-xl-v1-base",
}


@dataclass(frozen=True)
class Facts:
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


def lora_metadata(facts: Facts, *, epoch: int, steps: int) -> dict[str, str]:
    """The header of the file of an epoch (counted from 1) after so many steps."""
    return {
        **_model(facts),
        **_data(facts),
        **_optimization(facts.options),
        "ss_epoch": str(epoch),
        "ss_steps": str(steps),
        "ss_max_train_steps": str(facts.layout.total_steps),
        "ss_num_epochs": str(facts.options.epochs),
    }


def _model(facts: Facts) -> dict[str, str]:
    options = facts.options
    side = options.resolution
    found = {
        "ss_output_name": facts.name,
        "ss_base_model_version": _base_version(facts),
        "ss_v2": str(facts.architecture == "sd2"),
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(options.rank),
        "ss_network_alpha": str(options.alpha),
        "ss_mixed_precision": "no" if facts.precision == "fp32" else facts.precision,
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{_SPEC_ARCHITECTURES[facts.architecture, facts.prediction]}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": facts.name,
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.prediction_type": "epsilon" if facts.prediction == "epsilon" else "v",
    }
    if facts.architecture != "sdxl":
        found["ss_clip_skip"] = str(facts.clip_skip)
    if facts.zero_terminal_snr:
        found["ss_zero_terminal_snr"] = "True"
    if facts.trigger:
        found["ss_training_comment"] = f"trigger: {facts.trigger}"
        found["modelspec.trigger_phrase"] = facts.trigger
    if len(facts.base.files) == 1:
        ((name, file),) = facts.base.files.items()
        found["ss_sd_model_name"] = name
        found["ss_new_sd_model_hash"] = file.sha256
    return found


def _base_version(facts: Facts) -> str:
    """sd-scripts marks v-prediction in the names of SD1 and SD2 only."""
    marked = facts.architecture != "sdxl" and facts.prediction == "v_prediction"
    return _BASE_VERSIONS[facts.architecture] + ("_v" if marked else "")


def _data(facts: Facts) -> dict[str, str]:
    training = [each for each in facts.sets if not each.regularization]
    regularization = [each for each in facts.sets if each.regularization]
    return {
        "ss_resolution": f"({facts.options.resolution}, {facts.options.resolution})",
        "ss_num_train_images": str(sum(len(each.manifest.entries) * each.repeats for each in training)),
        "ss_num_reg_images": str(sum(len(each.manifest.entries) * each.repeats for each in regularization)),
        "ss_num_batches_per_epoch": str(facts.layout.steps_per_epoch),
        "ss_dataset_dirs": json.dumps(_folders(facts, regularization=False)),
        "ss_reg_dataset_dirs": json.dumps(_folders(facts, regularization=True)),
        "ss_tag_frequency": json.dumps(_tag_frequency(facts), ensure_ascii=False),
        "ss_enable_bucket": "True",
        "ss_bucket_info": json.dumps(
            {
                "buckets": {
                    str(index): {"resolution": list(bucket.size), "count": bucket.samples}
                    for index, bucket in enumerate(facts.layout.buckets)
                }
            }
        ),
        "ss_cache_latents": "True",
        "ss_shuffle_caption": str(facts.options.shuffle_caption),
        "ss_keep_tokens": str(facts.options.keep_tokens),
        "ss_caption_dropout_rate": str(facts.options.caption_dropout),
    }


def _folders(facts: Facts, *, regularization: bool) -> dict[str, dict[str, int]]:
    return {
        _folder(facts, index): {"n_repeats": each.repeats, "img_count": len(each.manifest.entries)}
        for index, each in enumerate(facts.sets)
        if each.regularization == regularization
    }


def _folder(facts: Facts, index: int) -> str:
    """A set's name as sd-scripts would call its folder: repeats, then words."""
    each = facts.sets[index]
    words = each.class_tokens if each.regularization else f"{facts.trigger or facts.name} {each.resolution_px}px"
    return f"{each.repeats}_{words or 'regularization'}"


def _tag_frequency(facts: Facts) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for picture in facts.pictures:
        counts.setdefault(_folder(facts, picture.set_index), Counter()).update(tag for tag in picture.tags)
    return {folder: dict(count.most_common()) for folder, count in counts.items()}


def _optimization(options: Training) -> dict[str, str]:
    return {
        "ss_optimizer": "torch.optim.adamw.AdamW",
        "ss_optimizer_args": f"weight_decay={options.weight_decay}",
        "ss_learning_rate": str(options.unet_lr),
        "ss_unet_lr": str(options.unet_lr),
        "ss_text_encoder_lr": str(options.text_encoder_lr),
        "ss_lr_scheduler": "constant_with_warmup" if options.warmup_steps else "constant",
        "ss_lr_warmup_steps": str(options.warmup_steps),
        "ss_batch_size_per_device": str(options.batch),
        "ss_total_batch_size": str(options.batch),
        "ss_gradient_accumulation_steps": "1",
        "ss_max_grad_norm": str(options.max_grad_norm),
        "ss_min_snr_gamma": str(options.min_snr_gamma) if options.min_snr_gamma else "None",
        "ss_prior_loss_weight": str(options.prior_loss_weight),
        "ss_loss_type": "l2",
        "ss_seed": str(options.seed),
    }
