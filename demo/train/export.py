"""Writes the trained models where others find them: a diffusers folder in half precision and a WD14 tagger."""

import json
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from diffusers import PNDMScheduler
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from demo.train.latents import load_latents
from demo.train.render import FULL_PX
from demo.train.tagger import trained_tagger
from demo.train.tagger_onnx import write_tagger
from demo.train.unet import new_schedule, trained_denoiser

LOG = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound=nn.Module)

# Of half precision's ten. The rounding moves weights by .7 % (fp8's three bits: 2.6 %), and a clone is a third smaller.
_MANTISSA_BITS: Final = 5

_INDEX: Final[dict[str, Any]] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def export(work: Path, models: Path) -> None:
    """Writes what is trained so far into `models/base` and `models/tagger`."""
    _swap(models / "base", lambda folder: _write_base(work, folder))
    if (work / "tagger.safetensors").exists():
        counts = Counter(tag for tags in load_latents(work, FULL_PX)[1] for tag in tags)
        _swap(models / "tagger", lambda folder: write_tagger(trained_tagger(work), folder, dict(counts)))


def _write_base(work: Path, folder: Path) -> None:
    model, step = trained_denoiser(work)
    folder.mkdir(parents=True)
    shipped(model.unet).save_pretrained(folder / "unet")
    shipped(model.vae).save_pretrained(folder / "vae")
    _write_text_encoder(shipped(model.text.encoder), folder / "text_encoder")
    shutil.copytree(work / "tokenizer", folder / "tokenizer")
    _scheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(_INDEX, indent=2) + "\n")
    LOG.info(
        "export: base at step %d, %.1f MB", step, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    )


def shipped(model: _Model) -> _Model:
    """Returns `model` in half precision, its weights rounded to few bits so that git packs them small."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(rounded(tensor, _MANTISSA_BITS))
    return model.half()


def rounded(tensor: Tensor, mantissa_bits: int) -> Tensor:
    """Returns float `tensor` with each number rounded to the nearest one of so many mantissa bits; others as is."""
    if not tensor.is_floating_point():
        return tensor
    mantissa, exponent = torch.frexp(tensor)
    scale = 2.0 ** (mantissa_bits + 1)
    return torch.ldexp((mantissa * scale).round() / scale, exponent)


def _write_text_encoder(encoder: CLIPTextModel, folder: Path) -> None:
    """Writes the encoder under the names that Stable Diffusion 1 uses on disk, whatever transformers' version."""
    encoder.save_pretrained(folder)
    weights = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in encoder.state_dict().items()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _scheduler() -> PNDMScheduler:
    settings = new_schedule().config
    return PNDMScheduler(
        num_train_timesteps=settings.num_train_timesteps,
        beta_start=settings.beta_start,
        beta_end=settings.beta_end,
        beta_schedule=settings.beta_schedule,
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _swap(folder: Path, write: Any) -> None:
    """Writes into a folder beside `folder`, then puts it in its place."""
    fresh, old = folder.with_name(f"partial-{folder.name}"), folder.with_name(f"old-{folder.name}")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    write(fresh)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
