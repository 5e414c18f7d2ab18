"""The denoising loop: shots in, pictures out. A picture depends on nothing but its shot."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import Condition, SizeIds, predict, read_texts, token_ids
from lora_core.diffusion.engine import Engine
from lora_core.errors import CheckpointError
from lora_core.pace import Work, model_kind
from lora_core.progress import Progress, silent
from lora_core.recipe import Sampling
from lora_core.sampling.schedulers import build_scheduler


@torch.no_grad()
def to_picture(components: Components, latent: torch.Tensor) -> Image.Image:
    """One picture from (4, h, w) latents, through the VAE in float32."""
    vae = components.vae
    pixels = vae.decode(latent[None].float() / vae.config.scaling_factor, return_dict=False)[0][0]
    values = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(values.permute(1, 2, 0).cpu().numpy()))


@torch.no_grad()
def to_latent(components: Components, picture: Image.Image) -> torch.Tensor:
    """Latents (1, 4, h, w) of an RGB picture: the mean of the VAE's distribution, in float32."""
    vae = components.vae
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    mean = vae.encode(pixels.to(vae.device), return_dict=False)[0].mode()
    return torch.as_tensor(mean.float() * vae.config.scaling_factor).to(components.unet.device)


_log = logging.getLogger(__name__)

_ESCAPED_BRACKET = re.compile(r"\\([()])")
_LATENT_CHANNELS = 4
_LANCZOS = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Shot:
    """What one picture is drawn from, beside the model and the options."""

    prompt: str
    negative: str
    seed: int


def generate(
    components: Components,
    shots: Sequence[Shot],
    options: Sampling,
    clip_skip: int,
    progress: Progress = silent,
    engine: Engine | None = None,
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
        engine: What runs the U-Net; None: nothing but its own forward pass.

    Yields:
        RGB pictures of `drawn_size(options)`.

    Raises:
        RecipeError: the text encoder has no such layer.
        CheckpointError: memory does not hold a single picture.
    """
    texts = _encode_all(components, [text for shot in shots for text in (shot.prompt, shot.negative)], clip_skip)
    brush = _Brush(components, texts, options, engine)
    each = steps_of_a_picture(options)
    total = len(shots) * each
    for start in range(0, len(shots), options.batch):
        batch = shots[start : start + options.batch]
        note = f"picture {start + len(batch)}/{len(shots)}"

        def told(steps: int, start: int = start, size: int = len(batch), note: str = note) -> None:
            progress(start * each + steps * size, total, note)

        for latent in _fitting_memory(brush, batch, told):
            yield to_picture(components, latent)


def steps_of_a_picture(options: Sampling) -> int:
    """Denoising steps, those of the hires pass included."""
    return options.steps + (hires_steps(options) if options.hires > 1 else 0)


def hires_steps(options: Sampling) -> int:
    """Steps of the second pass: the last `hires_denoise` of the schedule, at least one."""
    return max(1, int(options.hires_denoise * options.steps))


def drawn_size(options: Sampling) -> tuple[int, int]:
    """(width, height) in pixels of what comes out: with the hires factor, a multiple of 8."""
    width, height = (round(side * options.hires / 8) * 8 for side in (options.width, options.height))
    return width, height


def drawing_work(components: Components, options: Sampling, device: torch.device, pictures: int) -> Work:
    """So many pictures, the hires pass included, as their pace is measured."""
    width, height = drawn_size(options)
    pixels = options.steps * options.width * options.height
    if options.hires > 1:
        pixels += hires_steps(options) * width * height
    passes = 2 if options.cfg > 1 else 1
    kind = "draw", *model_kind(components, device), f"batch {options.batch}"
    return Work(kind, pictures * passes * pixels / 1e6)


Told = Callable[[int], None]


@dataclass(frozen=True)
class _Brush:
    """All that the shots of a sampling share."""

    components: Components
    texts: Mapping[str, Condition]
    options: Sampling
    engine: Engine | None = None


def _fitting_memory(brush: _Brush, shots: Sequence[Shot], told: Told) -> torch.Tensor:
    """Latents of the shots; where memory does not hold them all, of one half after the other.

    Raises:
        CheckpointError: memory does not hold a single picture.
    """
    try:
        return _draw(brush, shots, told)
    except torch.OutOfMemoryError:
        if len(shots) == 1:
            width, height = drawn_size(brush.options)
            raise CheckpointError(
                f"sampling: out of memory drawing one picture of {width}×{height} px; choose a smaller size or "
                "hires factor, or device = 'cpu'"
            ) from None
    torch.cuda.empty_cache()
    _log.warning("memory does not hold %d pictures at once; drawing them in two halves", len(shots))
    half = len(shots) // 2
    return torch.cat([_fitting_memory(brush, part, told) for part in (shots[:half], shots[half:])])


@torch.no_grad()
def _draw(brush: _Brush, shots: Sequence[Shot], told: Told) -> torch.Tensor:
    """Latents (B, 4, height / 8, width / 8) in float32 after the last step; `told` hears how many steps are done."""
    components, options = brush.components, brush.options
    generators = [torch.Generator("cpu").manual_seed(shot.seed) for shot in shots]
    scheduler = _scheduler(brush)
    noise = _noise(components, generators, (options.width, options.height))
    latents = _denoise(brush, shots, noise * scheduler.init_noise_sigma, 0, generators, told)
    if options.hires <= 1:
        return latents
    size = drawn_size(options)
    enlarged = torch.cat([to_latent(components, to_picture(components, one).resize(size, _LANCZOS)) for one in latents])
    first = options.steps - hires_steps(options)
    noise = _noise(components, generators, size)
    begun = scheduler.add_noise(enlarged, noise, scheduler.timesteps[first : first + 1].expand(len(shots)))
    return _denoise(brush, shots, begun, first, generators, lambda done: told(options.steps + done))


def _noise(components: Components, generators: Sequence[torch.Generator], size: tuple[int, int]) -> torch.Tensor:
    """(B, 4, height / 8, width / 8), each picture's from its own generator on the CPU."""
    factor = 2 ** (len(components.vae.config.block_out_channels) - 1)
    shape = (_LATENT_CHANNELS, size[1] // factor, size[0] // factor)
    drawn = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    return drawn.to(components.unet.device)


def _scheduler(brush: _Brush) -> Any:
    components, options = brush.components, brush.options
    made = build_scheduler(
        options.scheduler, components.prediction_type, zero_terminal_snr=components.zero_terminal_snr
    )
    made.set_timesteps(options.steps, device=components.unet.device)
    return made


def _denoise(
    brush: _Brush,
    shots: Sequence[Shot],
    latents: torch.Tensor,
    first: int,
    generators: list[torch.Generator],
    told: Told,
) -> torch.Tensor:
    """From latents as noisy as the step `first` wants them to clean ones, shape kept."""
    components, options, scheduler = brush.components, brush.options, _scheduler(brush)
    device = latents.device
    negatives = [shot.negative for shot in shots] if options.cfg > 1 else []
    prompts = (*negatives, *(shot.prompt for shot in shots))
    condition = Condition.joined([brush.texts[text] for text in prompts]).to(components.unet.dtype)
    factor = 2 ** (len(components.vae.config.block_out_channels) - 1)
    height, width = (side * factor for side in latents.shape[-2:])
    sizes = torch.tensor([SizeIds(height, width, 0, 0, height, width)] * len(prompts)).to(device)
    if first and hasattr(scheduler, "set_begin_index"):  # DDIM goes by the timestep alone
        scheduler.set_begin_index(first)
    for done, timestep in enumerate(scheduler.timesteps[first:], start=1):
        scaled = scheduler.scale_model_input(latents, timestep)
        predicted = _guided(brush, scaled, timestep, condition, sizes)
        latents = scheduler.step(predicted, timestep, latents, generator=generators, return_dict=False)[0]
        told(done)
    return latents


def _guided(
    brush: _Brush, latents: torch.Tensor, timestep: torch.Tensor, condition: Condition, sizes: torch.Tensor
) -> torch.Tensor:
    """The U-Net's prediction, pushed away from the negative prompt: negative + cfg · (prompt - negative).

    Args:
        brush: The model and the guidance scale `cfg`, called w + 1 in Ho & Salimans 2022, eq. 6.
        latents: (B, 4, h, w).
        timestep: One for all.
        condition: Of B prompts, or of 2 B texts with the negative prompts in front.
        sizes: (B, 6) or (2 B, 6), `SizeIds`, on the device.
    """
    repeats = len(sizes) // len(latents)
    inputs = torch.cat([latents] * repeats).to(brush.components.unet.dtype)
    pooled = () if condition.pooled is None else (condition.pooled,)
    tensors = (inputs, timestep, sizes, condition.states, *pooled)
    unet, engine = brush.components.unet, brush.engine
    predicted = (_predict(unet, tensors) if engine is None else engine(_predict, tensors, 0)).float()
    if repeats == 1:
        return predicted
    negative, prompt = predicted.chunk(2)
    return negative + brush.options.cfg * (prompt - negative)


def _predict(unet: UNet2DConditionModel, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    inputs, timestep, sizes, *texts = tensors
    return predict(unet, inputs, timestep, Condition(*texts), sizes)


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
