"""The denoising loop: shots in, pictures out. A picture depends on nothing but its shot."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler
from PIL import Image

from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import Condition, SizeIds, predict, read_texts
from lora_core.diffusion.prompts import token_ids
from lora_core.progress import Progress, silent
from lora_core.recipe import Sampling

_log = logging.getLogger(__name__)

_ESCAPED_BRACKET = re.compile(r"\\([()])")
_LATENT_CHANNELS = 4


@dataclass(frozen=True)
class Shot:
    """What one picture is drawn from, beside the model and the options."""

    prompt: str
    negative: str
    seed: int


def generate(
    components: Components, shots: Sequence[Shot], options: Sampling, clip_skip: int, progress: Progress = silent
) -> Iterator[Image.Image]:
    """Draw the shots in order, `options.batch` at once, with classifier-free guidance (Ho & Salimans 2022).

    All noise comes from a CPU generator of the shot's own, seeded as diffusers and web UIs with
    "RNG: CPU" do, so the same seed gives the same noise for every prompt, LoRA and batch.

    Args:
        components: The model, with or without a LoRA attached; it must stay as it is until the last picture is out.
        shots: Prompt, negative prompt and seed of every picture.
        options: Steps, CFG scale, scheduler, size and batch.
        clip_skip: Layer of the text encoder, counted from the end; without effect on SDXL.
        progress: Told after every step; a unit is one picture's step.

    Yields:
        RGB pictures of `options.width` × `options.height`.

    Raises:
        RecipeError: the text encoder has no such layer.
    """
    texts = _encode_all(components, [text for shot in shots for text in (shot.prompt, shot.negative)], clip_skip)
    total = len(shots) * options.steps
    for start in range(0, len(shots), options.batch):
        batch = shots[start : start + options.batch]
        note = f"picture {start + len(batch)}/{len(shots)}"

        def told(steps: int, start: int = start, size: int = len(batch), note: str = note) -> None:
            progress(start * options.steps + steps * size, total, note)

        for latent in _denoise(components, batch, texts, options, told):
            yield _decode(components, latent)


def build_scheduler(name: str, prediction_type: str, *, zero_terminal_snr: bool = False) -> Any:
    """A sampler by the recipe's name, on Stable Diffusion's "scaled_linear" noise schedule.

    Euler a spaces its steps evenly over the training timesteps and DPM++ 2M over the sigmas of Karras et al. 2022,
    eq. 5, both as k-diffusion does; DDIM is CompVis'. With zero terminal SNR the schedule is rescaled and the steps
    begin at the last timestep (Lin et al. 2023, sections 3.1 and 3.3).
    """
    schedule: dict[str, Any] = {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": prediction_type,
        "steps_offset": 1,
    }
    if zero_terminal_snr:
        schedule |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if name == "euler_a":
        return EulerAncestralDiscreteScheduler(**schedule)
    if name == "dpmpp_2m_karras":
        return DPMSolverMultistepScheduler(**schedule, algorithm_type="dpmsolver++", use_karras_sigmas=True)
    return DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False)


@torch.no_grad()
def _denoise(
    components: Components,
    shots: Sequence[Shot],
    texts: Mapping[str, Condition],
    options: Sampling,
    told: Callable[[int], None],
) -> torch.Tensor:
    """Latents (B, 4, height / 8, width / 8) in float32 after the last step; `told` hears how many steps are done."""
    device = components.unet.device
    scheduler = build_scheduler(
        options.scheduler, components.prediction_type, zero_terminal_snr=components.zero_terminal_snr
    )
    scheduler.set_timesteps(options.steps, device=device)
    generators = [torch.Generator("cpu").manual_seed(shot.seed) for shot in shots]
    factor = 2 ** (len(components.vae.config.block_out_channels) - 1)
    shape = (_LATENT_CHANNELS, options.height // factor, options.width // factor)
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    latents: torch.Tensor = noise.to(device) * scheduler.init_noise_sigma
    negatives = [shot.negative for shot in shots] if options.cfg > 1 else []
    prompts = (*negatives, *(shot.prompt for shot in shots))
    condition = Condition.joined([texts[text] for text in prompts]).to(components.unet.dtype)
    sizes = torch.tensor([SizeIds(options.height, options.width, 0, 0, options.height, options.width)] * len(prompts))
    for done, timestep in enumerate(scheduler.timesteps, start=1):
        scaled = scheduler.scale_model_input(latents, timestep)
        predicted = _guided(components, scaled, timestep, condition, sizes, options.cfg)
        latents = scheduler.step(predicted, timestep, latents, generator=generators, return_dict=False)[0]
        told(done)
    return latents


def _guided(
    components: Components,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    condition: Condition,
    sizes: torch.Tensor,
    cfg: float,
) -> torch.Tensor:
    """The U-Net's prediction, pushed away from the negative prompt: negative + cfg · (prompt - negative).

    Args:
        components: The model.
        latents: (B, 4, h, w).
        timestep: One for all.
        condition: Of B prompts, or of 2 B texts with the negative prompts in front.
        sizes: (B, 6) or (2 B, 6), `SizeIds`.
        cfg: Guidance scale, called w + 1 in Ho & Salimans 2022, eq. 6.
    """
    repeats = len(sizes) // len(latents)
    inputs = torch.cat([latents] * repeats).to(components.unet.dtype)
    predicted = predict(components.unet, inputs, timestep, condition, sizes).float()
    if repeats == 1:
        return predicted
    negative, prompt = predicted.chunk(2)
    return negative + cfg * (prompt - negative)


@torch.no_grad()
def _encode_all(components: Components, texts: Sequence[str], clip_skip: int) -> dict[str, Condition]:
    """Every different text as the U-Net reads it, encoded one by one so that none depends on the others."""
    device = components.text_encoders[0].device
    encoded = {}
    for text in dict.fromkeys(texts):
        read = _ESCAPED_BRACKET.sub(r"\1", text)
        ids, cut = zip(*(token_ids(tokenizer, [read]) for tokenizer in components.tokenizers), strict=True)
        if any(cut):
            _log.warning("prompt is longer than 75 tokens, the rest is not read: %s", text)
        encoded[text] = read_texts(components, [its_ids.to(device) for its_ids in ids], clip_skip)
    return encoded


@torch.no_grad()
def _decode(components: Components, latent: torch.Tensor) -> Image.Image:
    """One picture from (4, h, w) latents, through the VAE in float32."""
    vae = components.vae
    pixels = vae.decode(latent[None].float() / vae.config.scaling_factor, return_dict=False)[0][0]
    values = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy()))
