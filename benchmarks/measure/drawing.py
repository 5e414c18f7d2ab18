"""Pictures a second: drawing beside diffusers' pipeline, tagging beside a bare session."""

import importlib.util
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image

from demo.project import MODELS
from lora_core.device import memory_format, pick_device, pick_dtype, set_kernels
from lora_core.diffusion.components import Components
from lora_core.diffusion.engine import Engine
from lora_core.hub.detect import Architecture
from lora_core.recipe import Sampling, Speed
from lora_core.sampling.generate import generate
from lora_core.sampling.shot import Shot
from measure.models import make
from measure.runner import Emit, Settings
from measure.steps import ratio
from measure.ways import wait

DIFFUSERS = "diffusers' pipeline"
_PROMPT = "momo, 1girl, solo, upper body, smile, grass, outdoors"


def draw(settings: Settings, emit: Emit, architecture: Architecture, batch: int) -> None:
    """Ours, ours with CUDA graphs, and diffusers' own pipeline on the same models."""
    device = pick_device(settings.device)
    dtype = pick_dtype("auto", device)
    set_kernels(device, deterministic=False)
    model = make(architecture, device, dtype, toy=settings.rehearse)
    model.unet.to(memory_format=memory_format(device))
    side = 64 if settings.rehearse else (512 if architecture == "sd1" else 1024)
    options = Sampling(
        prompts=(_PROMPT,), seeds=(1,), weights=(1.0,), steps=2 if settings.rehearse else 25, width=side, height=side,
        batch=batch, scheduler="euler",
    )  # fmt: skip
    shots = [Shot(_PROMPT, options.negative, seed) for seed in range(batch)]
    pipeline = _pipeline(model)
    recorded = Engine(model.unet, Speed(cuda_graphs="auto"), cache=None, what="drawing")
    ways = {
        DIFFUSERS: lambda: _by_diffusers(pipeline, options),
        "ours": lambda: list(generate(model, shots, options, 1)),
        "ours, CUDA graphs": lambda: list(generate(model, shots, options, 1, engine=recorded)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for number in range(2 if settings.rehearse else 4):
        for name in list(ways) if number % 2 == 0 else list(reversed(ways)):
            wait(device)
            begun = time.perf_counter()
            ways[name]()
            wait(device)
            seconds[name].append(time.perf_counter() - begun)
    for name, spent in seconds.items():
        emit({"way": name, "model": f"{architecture} {side}", "batch": batch, "steps": options.steps,
              "pictures_per_second": batch / statistics.median(spent),
              "speed_of_diffusers": ratio(seconds[DIFFUSERS], spent)})  # fmt: skip


def _pipeline(model: Components) -> Any:
    """diffusers' own pipeline around the same models."""
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    )
    given = {"vae": model.vae, "unet": model.unet, "scheduler": scheduler}
    given |= {"text_encoder": model.text_encoders[0], "tokenizer": model.tokenizers[0]}
    if model.architecture == "sdxl":
        more = {"text_encoder_2": model.text_encoders[1], "tokenizer_2": model.tokenizers[1]}
        made: Any = StableDiffusionXLPipeline(**given, **more, add_watermarker=False)
    else:
        made = StableDiffusionPipeline(
            **given, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    made.set_progress_bar_config(disable=True)
    return made


@torch.no_grad()
def _by_diffusers(pipeline: Any, options: Sampling) -> torch.Tensor:
    """Pictures by the pipeline, decoded in float32 one by one as ours are."""
    latents = pipeline(
        _PROMPT, negative_prompt=options.negative, num_inference_steps=options.steps, guidance_scale=options.cfg,
        width=options.width, height=options.height, num_images_per_prompt=options.batch, output_type="latent",
    ).images  # fmt: skip
    scale = pipeline.vae.config.scaling_factor
    return torch.cat([pipeline.vae.decode(one[None].float() / scale).sample for one in latents]).cpu()


def tag(settings: Settings, emit: Emit) -> None:
    """The demo's tagger, and one with a published tagger's shapes; session alone beside opening and tagging."""
    missing = [name for name in ("onnxruntime", "onnx") if importlib.util.find_spec(name) is None]
    if "onnxruntime" in missing:
        return emit({"skipped": "onnxruntime is not installed"})
    folders = {"the demo's, 128 px": MODELS / "tagger"}
    if not missing and not settings.rehearse:
        from vit_tagger import write_vit_tagger

        folders["ViT-B/16, 448 px"] = write_vit_tagger(settings.folder / "vit")
    for name, folder in folders.items():
        emit({"tagger": name, **_tagged(settings, folder)})


def _tagged(settings: Settings, folder: Path) -> dict[str, Any]:
    from lora_core.tagging.wd14 import Tagger

    tagger = Tagger.load({name: folder / name for name in ("model.onnx", "selected_tags.csv")}, settings.device)
    drawn = np.random.default_rng(0)
    count = tagger.batch * (1 if settings.rehearse else 4)
    pictures = [Image.fromarray(drawn.integers(0, 256, (256, 256, 3), dtype=np.uint8)) for _ in range(count)]
    inputs = [tagger.prepared(picture) for picture in pictures]
    tagger.probabilities(inputs[: tagger.batch])
    begun = time.perf_counter()
    tagger.probabilities(inputs)
    alone = time.perf_counter() - begun
    begun = time.perf_counter()
    tagger.scores([tagger.prepared(picture) for picture in pictures])
    whole = time.perf_counter() - begun
    return {"provider": tagger.session.get_providers()[0], "session_pictures_per_second": count / alone,
            "pictures_per_second": count / whole}  # fmt: skip
