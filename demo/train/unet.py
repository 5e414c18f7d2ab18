"""The U-Net, trained on cached latents together with the text encoder."""

import logging
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTokenizer

from demo.sheet import tile
from demo.train.latents import load_latents
from demo.train.loop import DEVICE, MORE, RANKS, Budget, fit, half_precision, load_average, rank, train_in_ranks
from demo.train.render import FULL_PX, SMALL_PX
from demo.train.text import (
    WIDTH,
    TextParts,
    caption_tags,
    caption_words,
    tag_loss,
    tag_vector,
    token_ids,
    trained_text,
    word_lengths,
    word_loss,
)
from demo.train.vae import SCALING, to_pictures, trained_vae
from demo.world.tags import prompt_text

LOG = logging.getLogger(__name__)

STEPS: Final = 1000
NEGATIVE: Final = "realistic, nose, lips, 3d"
CFG: Final = 3.0
"""At which prompts are followed best. Of 256: eye colour .92 (.87 at 5, .79 at 8), hair style .92 (.88, .80)."""
_BATCH: Final = 32 * MORE // RANKS
SMALL_EVERY: Final = 5
_TAG_WEIGHT: Final = 0.3
_WORD_WEIGHT: Final = 0.05
_MIN_SNR: Final = 5.0
_SEED: Final = 303
PREVIEW_PROMPTS: Final = (
    "1girl, solo, upper body, straight-on, pink hair, long hair, twintails, green eyes, cat ears, "
    "animal ears, blue dress, dress, smile, white background, simple background",
    "1girl, solo, portrait, straight-on, blonde hair, short hair, blue eyes, red dress, dress, smile, grass, outdoors",
    "1girl, solo, cowboy shot, straight-on, black hair, long hair, red eyes, pointy ears, yellow hoodie, "
    "hoodie, open mouth, smile, night, starry sky, outdoors",
    "1girl, solo, close-up, straight-on, white hair, short hair, purple eyes, closed mouth, smile, indoors, window",
    "1girl, solo, upper body, from side, blue hair, long hair, ponytail, brown eyes, bear ears, animal ears, "
    "green dress, dress, frown, floral background",
    "1girl, solo, upper body, realistic, nose, lips, 3d, red hair, long hair, twin braids, braid, blue eyes, "
    "white dress, dress, white background, simple background",
    "1girl, solo, portrait, closed eyes, smile, green hair, short hair, hair flower, hair ornament, "
    "purple dress, dress, sky, cloud, outdoors",
    "1girl, solo, cowboy shot, brown hair, long hair, twintails, green eyes, red dress, dress, open mouth, "
    "surprised, indoors, window",
)


@dataclass(frozen=True)
class Denoiser:
    """Everything that turns prompts into pictures."""

    tokenizer: CLIPTokenizer
    text: TextParts
    unet: UNet2DConditionModel
    vae: AutoencoderKL


def new_unet() -> UNet2DConditionModel:
    """Returns a fresh U-Net in Stable Diffusion 1's layout, only small."""
    torch.manual_seed(_SEED)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 128, 192),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
        norm_num_groups=32,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet


def new_schedule() -> DDPMScheduler:
    """Returns Stable Diffusion 1's noise schedule."""
    return DDPMScheduler(num_train_timesteps=STEPS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def train(work: Path, minutes: float | None) -> None:
    """Trains U-Net and text encoder and draws a sheet of samples at the end."""
    train_in_ranks(partial(_train, work, minutes))
    preview(work)


def _train(work: Path, minutes: float | None) -> None:
    tokenizer, text = trained_text(work)
    unet = new_unet()
    # At these sizes plain attention took two thirds of the fused kernel's time.
    if DEVICE.type == "cpu":
        unet.set_attn_processor(AttnProcessor())
    sets = [load_latents(work, size_px) for size_px in (FULL_PX, SMALL_PX)]
    lengths = word_lengths(tokenizer)
    schedule, weights = new_schedule(), min_snr_weights()

    def loss_of(step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        rng, dice = (
            np.random.default_rng((_SEED, step, rank())),
            random.Random((_SEED * 10_000_000 + step) * RANKS + rank()),
        )
        latents, tags = sets[1 if step % SMALL_EVERY == SMALL_EVERY - 1 else 0]
        chosen = rng.integers(0, len(latents), _BATCH)
        clean = latents[chosen]
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        timesteps = stratified_timesteps(rng, _BATCH)
        noisy = schedule.add_noise(clean, noise, timesteps).to(DEVICE)
        noise, timesteps = noise.to(DEVICE), timesteps.to(DEVICE)
        kept = [caption_tags(tags[k], dice) for k in chosen]
        words = [caption_words(row, dice) for row in kept]
        ids = token_ids(tokenizer, [prompt_text(row) for row in words])
        with half_precision():
            states, logits = text(ids)
            predicted = unet(noisy, timesteps, states).sample
        error = ((predicted.float() - noise) ** 2).mean((1, 2, 3))
        drawing = (error * weights[timesteps]).mean()
        reading = tag_loss(logits, tag_vector(kept))
        naming = word_loss(text.head(states), words, lengths)
        return drawing + _TAG_WEIGHT * reading + _WORD_WEIGHT * naming, {
            "plain": float(error.detach().mean()),
            "drawing": drawing.item(),
            "reading": reading.item(),
            "naming": naming.item(),
        }

    budget = Budget(steps=100_000, minutes=minutes or 180, lr=7e-4, ema=0.998)
    fit("unet", work, {"unet": unet, "text": text}, loss_of, budget)


def trained_denoiser(work: Path) -> tuple[Denoiser, int]:
    """Returns the averaged models and the step they come from."""
    tokenizer, text = trained_text(work)
    unet = new_unet()
    step = load_average(work / "unet.safetensors", {"unet": unet, "text": text})
    vae = trained_vae(work)
    for module in (text, unet, vae):
        module.eval().to(DEVICE)
    return Denoiser(tokenizer, text, unet, vae), step


@torch.no_grad()
def sample(
    model: Denoiser, prompts: tuple[str, ...], negative: str = "", seed: int = 0, cfg: float = CFG, steps: int = 20
) -> Tensor:
    """Returns pictures (N, 3, 128, 128) in [-1, 1]."""
    solver = DPMSolverMultistepScheduler.from_config(new_schedule().config)
    solver.set_timesteps(steps)
    latents = torch.randn(len(prompts), 4, 16, 16, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    states, _ = model.text(token_ids(model.tokenizer, [negative] * len(prompts) + list(prompts)))
    for timestep in solver.timesteps:
        without, with_ = model.unet(torch.cat([latents, latents]), timestep, states).sample.chunk(2)
        latents = solver.step(without + cfg * (with_ - without), timestep, latents).prev_sample
    pictures: Tensor = model.vae.decode(latents / SCALING).sample
    return pictures.cpu()


def preview(work: Path) -> None:
    """Writes `work/unet-STEP.png`: every preview prompt with four seeds."""
    model, step = trained_denoiser(work)
    rows = [sample(model, PREVIEW_PROMPTS, seed=seed) for seed in range(4)]
    tile([picture for row in rows for picture in to_pictures(row)], len(PREVIEW_PROMPTS)).save(
        work / f"unet-{step:06d}.png"
    )


def min_snr_weights() -> Tensor:
    """Returns the loss weight of every timestep (Hang et al. 2023, Min-SNR)."""
    cumulative = new_schedule().alphas_cumprod
    snr = cumulative / (1 - cumulative)
    weights: Tensor = snr.clamp(max=_MIN_SNR) / snr
    return weights.to(DEVICE)


def stratified_timesteps(rng: np.random.Generator, count: int) -> Tensor:
    """Returns one timestep per sample, stratified, leaning towards high noise."""
    even = (np.arange(count) + rng.random(count)) / count
    return torch.from_numpy(np.minimum(STEPS * even**0.8, STEPS - 1).astype(np.int64))
