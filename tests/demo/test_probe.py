"""The look probe that ships: right on pictures it never saw, and small."""

import random
from functools import cache
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from demo.proof.probe import PROBE_FILE, load_probe, solid_probabilities
from demo.world import Character, Scene, draw
from demo.world.solid import Finish

MODELS = Path(__file__).resolve().parents[2] / "demo" / "models"
BOUND = 0.95


@cache
def fresh_pictures() -> tuple[Image.Image, ...]:
    """80 pictures, flat and solid by turns, in every finish; the probe's own seeds begin at sixty million."""
    rng = random.Random(78)
    return tuple(
        draw(Character.random(rng), Scene.random(rng), "solid" if k % 2 else "flat", finish=Finish.random(rng))
        for k in range(80)
    )


def right(pictures: tuple[Image.Image, ...]) -> float:
    found = solid_probabilities(load_probe(), pictures)
    return sum((probability > 0.5) == (k % 2 == 1) for k, probability in enumerate(found)) / len(found)


def test_the_probe_tells_the_two_looks_apart() -> None:
    assert right(fresh_pictures()) >= BOUND


@torch.no_grad()
def test_and_through_the_autoencoder() -> None:
    vae = AutoencoderKL.from_pretrained(MODELS / "base" / "vae", torch_dtype=torch.float32)
    images = torch.stack([torch.from_numpy(np.array(picture)) for picture in fresh_pictures()[:40]])
    latents = vae.encode(images.permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mode()
    decoded = ((vae.decode(latents).sample.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert right(tuple(Image.fromarray(picture) for picture in decoded)) >= BOUND


def test_pictures_of_other_sizes_and_modes_are_read_too() -> None:
    larger = fresh_pictures()[1].resize((256, 256), Image.Resampling.BICUBIC).convert("RGBA")
    assert solid_probabilities(load_probe(), [larger])[0] > 0.5
    assert solid_probabilities(load_probe(), []) == []


def test_the_probe_weighs_less_than_200_kilobytes() -> None:
    assert PROBE_FILE.stat().st_size < 200_000
