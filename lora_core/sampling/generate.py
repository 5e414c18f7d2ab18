"""The denoising loop: shots in, pictures out. A picture depends on nothing but its shot."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from PIL import Image

from lora_core.captions.emphasis import read_prompt
from lora_core.device import pick_dtype
from lora_core.diffusion.chunks import chunked
from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import Condition, SizeIds, predict, read_texts
from lora_core.diffusion.engine import Engine
from lora_core.errors import CheckpointError
from lora_core.progress import Progress, silent
from lora_core.recipe import Sampling
from lora_core.sampling.schedulers import build_scheduler, settled, step_count
from lora_core.sampling.shot import Shot
from lora_core.sampling.work import drawn_size


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

_LATENT_CHANNELS = 4
_LANCZOS = Image.Resampling.LANCZOS


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
    "RNG: CPU" do, so the same seed gives the same noise for every prompt, LoRA and batch. The hires pass has a new one
    with the same seed, as A1111's has.

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
    options = settled(options, zero_terminal_snr=components.zero_terminal_snr)
    texts = _encode_all(components, [text for shot in shots for text in (shot.prompt, shot.negative)], clip_skip)
    brush = _Brush(components, texts, options, engine)
    each = step_count(options)
    total = len(shots) * each
    done = 0
    for batch in _batches(shots, options.batch):
        start, done = done, done + len(batch)
        note = f"picture {done}/{len(shots)}"

        def told(steps: int, start: int = start, size: int = len(batch), note: str = note) -> None:
            progress(start * each + steps * size, total, note)

        for latent in _fitting_memory(brush, batch, told):
            yield to_picture(components, latent)


Told = Callable[[int], None]


@dataclass(frozen=True)
class _Brush:
    """All that the shots of a sampling share."""

    components: Components
    texts: Mapping[str, Condition]
    options: Sampling
    engine: Engine | None = None


def _batches(shots: Sequence[Shot], size: int) -> Iterator[Sequence[Shot]]:
    """At most so many neighbours each, all of one denoising strength: another one has noise levels of its own."""
    for _, alike in groupby(shots, key=lambda shot: shot.denoise):
        own = tuple(alike)
        yield from (own[start : start + size] for start in range(0, len(own), size))


def _fitting_memory(brush: _Brush, shots: Sequence[Shot], told: Told) -> torch.Tensor:
    """Latents of the shots; where memory does not hold them all, of one half after the other.

    Raises:
        CheckpointError: memory does not hold a single picture.
    """
    try:
        return _in_range(brush, shots, told)
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


def _in_range(brush: _Brush, shots: Sequence[Shot], told: Told) -> torch.Tensor:
    """Latents of the shots; where a model's numbers are too large for fp16, it is held in another from now on."""
    latents, unet = _draw(brush, shots, told), brush.components.unet
    if unet.dtype != torch.float16 or bool(latents.isfinite().all()):
        return latents
    wide = pick_dtype("auto", unet.device)
    _log.warning("this model's numbers are too large for fp16, where a web UI needs --no-half; drawing in %s", wide)
    unet.to(wide)
    if brush.engine is not None:
        brush.engine.forget()
    return _draw(brush, shots, told)


@torch.no_grad()
def _draw(brush: _Brush, shots: Sequence[Shot], told: Told) -> torch.Tensor:
    """Latents (B, 4, height / 8, width / 8) in float32 after the last step; `told` hears how many steps are done."""
    options, size = brush.options, (brush.options.width, brush.options.height)
    pictures = [shot.begin.read().convert("RGB") for shot in shots if shot.begin]
    latents, done = _pass(brush, shots, size, (pictures, shots[0].denoise), told)
    if options.hires <= 1:
        return latents
    pictures = [to_picture(brush.components, one) for one in latents]
    begun = pictures, options.hires_denoise
    return _pass(brush, shots, drawn_size(options), begun, lambda more: told(done + more))[0]


def _pass(
    brush: _Brush,
    shots: Sequence[Shot],
    size: tuple[int, int],
    begun: tuple[Sequence[Image.Image], float | None],
    told: Told,
) -> tuple[torch.Tensor, int]:
    """Latents after the last step, and how many there were: from noise, or from pictures with a denoising strength."""
    components, (pictures, denoise) = brush.components, begun
    generators, scheduler = _generators(shots), _scheduler(brush, denoise)
    noise = _noise(components, generators, size)
    if denoise is None:
        latents = noise * scheduler.init_noise_sigma
    else:
        clean = torch.cat([to_latent(components, one.resize(size, _LANCZOS)) for one in pictures])
        latents = scheduler.add_noise(clean, noise, scheduler.timesteps[:1].expand(len(shots)))
    return _denoise(brush, shots, latents, scheduler, generators, told), len(scheduler.timesteps)


def _generators(shots: Sequence[Shot]) -> list[torch.Generator]:
    return [torch.Generator("cpu").manual_seed(shot.seed) for shot in shots]


def _noise(components: Components, generators: Sequence[torch.Generator], size: tuple[int, int]) -> torch.Tensor:
    """(B, 4, height / 8, width / 8), each picture's from its own generator on the CPU."""
    factor = 2 ** (len(components.vae.config.block_out_channels) - 1)
    shape = (_LATENT_CHANNELS, size[1] // factor, size[0] // factor)
    drawn = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    return drawn.to(components.unet.device)


def _scheduler(brush: _Brush, denoise: float | None) -> Any:
    components = brush.components
    return build_scheduler(
        brush.options,
        components.prediction_type,
        zero_terminal_snr=components.zero_terminal_snr,
        denoise=denoise,
        device=components.unet.device,
    )


def _denoise(
    brush: _Brush,
    shots: Sequence[Shot],
    latents: torch.Tensor,
    scheduler: Any,
    generators: list[torch.Generator],
    told: Told,
) -> torch.Tensor:
    """From latents as noisy as the sampler's first step wants them to clean ones, shape kept."""
    components = brush.components
    device = latents.device
    condition = _condition(brush, shots)
    factor = 2 ** (len(components.vae.config.block_out_channels) - 1)
    height, width = (side * factor for side in latents.shape[-2:])
    sizes = torch.tensor([SizeIds(height, width, 0, 0, height, width)] * len(condition.states)).to(device)
    for done, timestep in enumerate(scheduler.timesteps, start=1):
        scaled = scheduler.scale_model_input(latents, timestep)
        predicted = _guided(brush, scaled, timestep, condition, sizes)
        latents = scheduler.step(predicted, timestep, latents, generator=generators, return_dict=False)[0]
        told(done)
    return latents


def _condition(brush: _Brush, shots: Sequence[Shot]) -> Condition:
    """Of the shots' B prompts; with guidance 2 B, the negative prompts in front.

    SDXL's empty negative prompt is zeros, as it was trained and as A1111, Forge and Stability's code have it.
    """
    prompts = [brush.texts[shot.prompt] for shot in shots]
    negatives = [brush.texts[shot.negative] for shot in shots] if brush.options.cfg > 1 else []
    if brush.components.architecture == "sdxl":
        negatives = [text if shot.negative else text.zeros() for text, shot in zip(negatives, shots, strict=False)]
    return Condition.joined([*negatives, *prompts]).to(brush.components.unet.dtype)


def _guided(
    brush: _Brush, latents: torch.Tensor, timestep: torch.Tensor, condition: Condition, sizes: torch.Tensor
) -> torch.Tensor:
    """The U-Net's prediction, pushed away from the negative prompt: negative + cfg · (prompt - negative).

    Args:
        brush: The model and the guidance scale `cfg`, called w + 1 in Ho & Salimans 2022, eq. 6, and its rescaling.
        latents: (B, 4, h, w).
        timestep: One for all.
        condition: Of B prompts, or of 2 B texts with the negative prompts in front.
        sizes: (B, 6) or (2 B, 6), `SizeIds`, on the device.
    """
    repeats = len(sizes) // len(latents)
    inputs = torch.cat([latents] * repeats).to(brush.components.unet.dtype)
    more = (each for each in (condition.pooled, condition.mask) if each is not None)
    tensors = (inputs, timestep, sizes, condition.states, *more)
    unet, engine = brush.components.unet, brush.engine
    predicted = (_predict(unet, tensors) if engine is None else engine(_predict, tensors, 0)).float()
    if repeats == 1:
        return predicted
    negative, prompt = predicted.chunk(2)
    return rescaled(negative + brush.options.cfg * (prompt - negative), prompt, brush.options.cfg_rescale)


def rescaled(guided: torch.Tensor, prompt: torch.Tensor, share: float) -> torch.Tensor:
    """By this share with the deviation that the prompt's own prediction has, picture by picture.

    Source: Lin et al. 2023 (arXiv:2305.08891), equations 15 and 16.

    Args:
        guided: (B, 4, h, w), after guidance.
        prompt: (B, 4, h, w), the prompt's own prediction.
        share: phi, 0 to 1; 0 leaves it as it is.
    """
    if not share:
        return guided
    wanted, now = (each.std(dim=(1, 2, 3), keepdim=True) for each in (prompt, guided))
    return share * guided * (wanted / now) + (1 - share) * guided


def _predict(unet: UNet2DConditionModel, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    inputs, timestep, sizes, states, *more = tensors
    mask = more.pop() if more and more[-1].dtype == torch.bool else None
    return predict(unet, inputs, timestep, Condition(states, more[0] if more else None, mask), sizes)


@torch.no_grad()
def _encode_all(components: Components, texts: Sequence[str], clip_skip: int) -> dict[str, Condition]:
    """Every different text as the U-Net reads it, encoded one by one so that none depends on the others."""
    return {text: _encode(components, text, clip_skip) for text in dict.fromkeys(texts)}


def _encode(components: Components, text: str, clip_skip: int) -> Condition:
    """A prompt with emphasis, in as many chunks as it needs."""
    device, tokenizers = components.text_encoders[0].device, components.tokenizers
    read = [chunked(tokenizer, read_prompt(text)) for tokenizer in tokenizers]
    most = max(each.count for each in read)
    read = [each.padded(most, tokenizer) for each, tokenizer in zip(read, tokenizers, strict=True)]
    weights = [each.weights.to(device) for each in read] if any(each.emphasized for each in read) else []
    return read_texts(components, [each.ids.to(device) for each in read], clip_skip, weights)
