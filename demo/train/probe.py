"""The look probe's training: flat against solid pictures, as drawn and as the exported autoencoder gives them back."""

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from demo.proof.probe import SIDE_PX, Probe
from demo.train.loop import DEVICE, Budget, fit, load_average, replace_file
from demo.train.vae import SCALING, to_tensor
from demo.world.character import Character
from demo.world.draw import draw
from demo.world.scene import Scene
from demo.world.solid import Finish

LOG = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]  # (N, 128, 128, 3) RGB, flat and solid by turns

_PICTURES: Final = 2400
_HELD_OUT: Final = 400
_BATCH: Final = 48
_ENCODED: Final = 32
# A sampler's latents are never quite those of a picture; half of the noise is smooth, as a denoiser's mistakes are.
LARGEST_NOISE: Final = 0.6
# No picture of the other trainings: their seeds begin above 100 million.
_FIRST_PICTURE: Final = 60_000_000
_SEED: Final = 606


def train(work: Path, models: Path, minutes: float | None) -> None:
    """Trains the probe and writes `models/probe/probe.safetensors`, its accuracy in the file's metadata."""
    drawn = drawn_once(work / "probe-pictures.npy", _PICTURES, _draw)
    vae = AutoencoderKL.from_pretrained(models / "base" / "vae", torch_dtype=torch.float32).to(DEVICE).eval()
    kinds = {
        "drawn": drawn,
        "through the VAE": through(vae, drawn, noise=0.0),
        "from noisy latents": through(vae, drawn, noise=LARGEST_NOISE),
    }
    torch.manual_seed(_SEED)
    probe = Probe()
    shown = list(kinds.values())

    def loss_of(step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((_SEED, step))
        chosen = rng.integers(0, len(drawn) - _HELD_OUT, _BATCH)
        pixels = np.stack([shown[kind][k] for kind, k in zip(rng.integers(0, len(shown), _BATCH), chosen, strict=True)])
        # Channels change places, and left and right: no colour and no side may give a look away.
        images = to_tensor(pixels[:, :, :: rng.choice((-1, 1)), rng.permutation(3)]).to(DEVICE)
        logits = probe(images)
        truth = torch.from_numpy(chosen % 2).to(logits)
        wrong = float(((logits > 0) != (truth > 0.5)).float().mean())
        return functional.binary_cross_entropy_with_logits(logits, truth), {"wrong": wrong}

    fit("probe", work, {"probe": probe}, loss_of, Budget(steps=4000, minutes=minutes or 6, lr=3e-3, ema=0.99))
    load_average(work / "probe.safetensors", {"probe": probe})
    probe.cpu().eval()
    found = {name: f"{_accuracy(probe, pixels[-_HELD_OUT:]):.3f}" for name, pixels in kinds.items()}
    LOG.info("probe, share of held-out pictures read right: %s", found)
    write_probe(models / "probe" / "probe.safetensors", probe, found)


def drawn_once(path: Path, count: int, draw_one: Callable[[int], Pixels]) -> Pixels:
    """Draws so many pictures, or finds them where they were kept."""
    if not path.exists():
        pixels = np.stack([draw_one(k) for k in range(count)])
        replace_file(path, lambda temporary: _save_pixels(temporary, pixels))
    found: Pixels = np.load(path)
    return found


def write_probe(target: Path, probe: nn.Module, found: Mapping[str, str]) -> None:
    """Writes a probe's weights, with its accuracies in the file's metadata."""
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, partial(save_file, probe.state_dict(), metadata={"format": "pt", **found}))


def _draw(k: int) -> Pixels:
    rng = random.Random(_FIRST_PICTURE + k)
    look: Literal["flat", "solid"] = "solid" if k % 2 else "flat"
    return np.asarray(draw(Character.random(rng), Scene.random(rng), look, SIDE_PX, Finish.random(rng)))


def _save_pixels(path: Path, pixels: Pixels) -> None:
    """Writes an array under the very name, as `replace_file` wants it."""
    with path.open("wb") as file:  # np.save would add an ending to the temporary name
        np.save(file, pixels)


@torch.no_grad()
def through(vae: AutoencoderKL, pixels: Pixels, noise: float) -> Pixels:
    """Returns the pictures as the autoencoder gives them back, from latents with up to so much noise."""
    generator, out = torch.Generator().manual_seed(_SEED), []
    for latents in _encoded(vae, pixels):
        latents += _mistakes(latents.shape, noise, generator).to(DEVICE)
        decoded = vae.decode(latents / SCALING).sample.clamp(-1, 1)
        out.append(((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


def through_encoder(vae: AutoencoderKL, pixels: Pixels) -> Tensor:
    """Returns the pictures' scaled latents (N, 4, side/8, side/8)."""
    return torch.cat([latents.cpu() for latents in _encoded(vae, pixels)])


@torch.no_grad()
def _encoded(vae: AutoencoderKL, pixels: Pixels) -> Iterator[Tensor]:
    for start in range(0, len(pixels), _ENCODED):
        latents: Tensor = vae.encode(to_tensor(pixels[start : start + _ENCODED]).to(DEVICE)).latent_dist.mode()
        yield latents * SCALING


def _mistakes(shape: torch.Size, largest: float, generator: torch.Generator) -> Tensor:
    """Returns noise (B, 4, h, w), deviations up to `largest`: two pictures rough, two smooth, by turns."""
    count, channels, height, width = shape
    rough = torch.randn(shape, generator=generator)
    coarse = torch.randn(count, channels, height // 2, width // 2, generator=generator)
    smooth = functional.interpolate(coarse, size=(height, width), mode="bilinear") * 1.5
    turns = (torch.arange(count) // 2 % 2 == 0)[:, None, None, None]
    return torch.where(turns, rough, smooth) * torch.rand(count, 1, 1, 1, generator=generator) * largest


@torch.no_grad()
def _accuracy(probe: Probe, pixels: Pixels) -> float:
    """Returns the share read right of pictures that are flat and solid by turns."""
    logits = torch.cat([probe(to_tensor(pixels[k : k + 50])) for k in range(0, len(pixels), 50)])
    truth = torch.arange(len(pixels)) % 2 == 1
    return float(((logits > 0) == truth).float().mean())
