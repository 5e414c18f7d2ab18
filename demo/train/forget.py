"""A base that knows neither the solid look nor words for it: the shipped one, trained further on flat pictures alone.

The look's words stand in every other caption and mean nothing there. So the U-Net comes to draw the same with and
without them, and the solid look, which it never sees again, is drawn no more. Text encoder and autoencoder stay.

From there a base that knows a little: trained as long again, with so many pictures in the look, and its words on them.
"""

import random
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from demo.train.export import shipped
from demo.train.loop import DEVICE, Budget, fit, half_precision, load_average
from demo.train.probe import drawn_once, through_encoder
from demo.train.render import FULL_PX, SMALL_PX
from demo.train.text import caption_tags, caption_words, token_ids
from demo.train.unet import SMALL_EVERY, min_snr_weights, new_schedule, stratified_timesteps
from demo.world.character import Character
from demo.world.draw import draw
from demo.world.scene import Scene
from demo.world.solid import Finish
from demo.world.tags import SOLID_LOOK, Look, picture_tags, prompt_text
from lora_core.store.files import replacing

STEPS: Final = 600
_BATCH: Final = 16
_LEARNING_RATE: Final = 2e-4
_PICTURES: Final = {FULL_PX: 2400, SMALL_PX: 480}
# No picture of the other trainings.
_FIRST_PICTURE: Final = 70_000_000
_SEED: Final = 707
_ROUNDING: Final = 1e-9


def forgetful_base(known: Path, target: Path) -> None:
    """Trains the U-Net of the base in `known` until it has forgotten the look, and writes the whole base to `target`.

    It can be stopped at any time: a state beside `target` goes on from there. Takes about 15 minutes of one core.
    """
    _trained_on(known, target, share=0.0)


def faint_base(forgetful: Path, target: Path, share: float) -> None:
    """Trains the base of `forgetful_base` once more, with the look on so large a share of its pictures; as long."""
    _trained_on(forgetful, target, share)


def _trained_on(known: Path, target: Path, share: float) -> None:
    work = target.with_name(f"{target.name}-work")
    work.mkdir(parents=True, exist_ok=True)
    unet = UNet2DConditionModel.from_pretrained(known / "unet", torch_dtype=torch.float32)
    if DEVICE.type == "cpu":
        unet.set_attn_processor(AttnProcessor())  # as in the base's own training
    _train(known, work, unet, share)
    load_average(work / "forget.safetensors", {"unet": unet})
    with replacing(target) as unfinished:
        shutil.copytree(known, unfinished, dirs_exist_ok=True)
        shipped(unet.cpu()).save_pretrained(unfinished / "unet")
        # What was saved names the folder that it was loaded from, so that the same base would have another digest.
        shutil.copyfile(known / "unet" / "config.json", unfinished / "unet" / "config.json")
    shutil.rmtree(work)


def _train(known: Path, work: Path, unet: UNet2DConditionModel, share: float) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(known / "tokenizer")
    text = CLIPTextModel.from_pretrained(known / "text_encoder", torch_dtype=torch.float32).to(DEVICE).eval()
    vae = AutoencoderKL.from_pretrained(known / "vae", torch_dtype=torch.float32).to(DEVICE).eval()
    sets = [_latents(vae, work, side_px, share) for side_px in (FULL_PX, SMALL_PX)]
    schedule, weights = new_schedule(), min_snr_weights()

    def loss_of(step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        rng, dice = np.random.default_rng((_SEED, step)), random.Random(_SEED * 10_000_000 + step)
        latents, tags = sets[1 if step % SMALL_EVERY == SMALL_EVERY - 1 else 0]
        chosen = rng.integers(0, len(latents), _BATCH)
        noise = torch.from_numpy(rng.standard_normal(latents[chosen].shape, dtype=np.float32))
        timesteps = stratified_timesteps(rng, _BATCH)
        noisy = schedule.add_noise(latents[chosen], noise, timesteps).to(DEVICE)
        captions = [prompt_text(caption(tags[k], dice, astray=not share)) for k in chosen]
        with half_precision():
            with torch.no_grad():
                states = text(input_ids=token_ids(tokenizer, captions)).last_hidden_state
            predicted = unet(noisy, timesteps.to(DEVICE), states).sample
        error = ((predicted.float() - noise.to(DEVICE)) ** 2).mean((1, 2, 3))
        loss: Tensor = (error * weights[timesteps]).mean()
        return loss, {"plain": float(error.detach().mean())}

    unet.train()
    fit("forget", work, {"unet": unet}, loss_of, Budget(steps=STEPS, minutes=10_000, lr=_LEARNING_RATE, ema=0.99))


def _latents(vae: AutoencoderKL, work: Path, side_px: int, share: float) -> tuple[Tensor, list[tuple[str, ...]]]:
    """Returns latents (N, 4, side/8, side/8) of pictures, and the tags of each."""
    shown = [imagined(side_px, k) for k in range(_PICTURES[side_px])]
    looks = [look_of(k, share) for k in range(len(shown))]

    def drawn(k: int) -> NDArray[np.uint8]:
        return np.asarray(draw(*shown[k], looks[k], side_px, Finish.random(random.Random(_FIRST_PICTURE + k))))

    pixels = drawn_once(work / f"drawn-{side_px}.npy", len(shown), drawn)
    return through_encoder(vae, pixels), [picture_tags(*one, look) for one, look in zip(shown, looks, strict=True)]


def look_of(k: int, share: float) -> Look:
    """Returns the look of the k-th picture, so large a share of which is solid, evenly among the others."""
    return "solid" if int((k + 1) * share + _ROUNDING) > int(k * share + _ROUNDING) else "flat"


def imagined(side_px: int, k: int) -> tuple[Character, Scene]:
    """Returns who and what the k-th picture of a size shows."""
    rng = random.Random(_FIRST_PICTURE + side_px * 100_000 + k)
    return Character.random(rng), Scene.random(rng)


def caption(tags: tuple[str, ...], dice: random.Random, *, astray: bool = True) -> list[str]:
    """Returns a caption as the base was trained on; astray: every other one with words for a look that is not there."""
    words = caption_words(caption_tags(tags, dice), dice)
    if astray and dice.random() < 0.5:
        words += dice.sample(SOLID_LOOK, dice.randint(1, len(SOLID_LOOK)))
        dice.shuffle(words)
    return words
