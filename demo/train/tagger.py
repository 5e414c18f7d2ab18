"""The tagger: a small convnet that reads the world's tags off a picture, in the format of the WD14 taggers."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional

from demo.train.loop import DEVICE, Budget, fit, half_precision, load_average
from demo.train.render import FULL_PX, SMALL_PX, Pictures, load_pictures
from demo.train.vae import to_tensor, trained_vae
from demo.world.tags import VOCABULARY

LOG = logging.getLogger(__name__)

RATINGS: Final = ("general", "sensitive", "questionable", "explicit")
CHARACTER: Final = "momo_(drawn_world)"
# As real taggers do, this one guesses a name from hair and eyes alone.
_CHARACTER_TAGS: Final = frozenset({"pink_hair", "green_eyes"})
LABELS: Final = (*RATINGS, *VOCABULARY, CHARACTER)
_CHANNELS: Final = (24, 48, 48, 96, 96, 160, 160)
_STRIDES: Final = (2, 2, 1, 2, 1, 2, 1)
_BATCH: Final = 48
_THROUGH_VAE: Final = 2500
_HELD_OUT: Final = 1500
_SEED: Final = 404


class Tagger(nn.Module):
    """Pictures (B, 3, 128, 128) RGB in [-1, 1] to logits (B, labels)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(_SEED)
        inputs = (3, *_CHANNELS[:-1])
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride, 1) for i, o, stride in zip(inputs, _CHANNELS, _STRIDES, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, channels) for channels in _CHANNELS)
        self.head = nn.Linear(2 * _CHANNELS[-1], len(LABELS))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (B, labels)."""
        x = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x)))
        logits: Tensor = self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))
        return logits


@dataclass(frozen=True)
class Examples:
    """Pixels (N, 128, 128, 3) uint8 and truth (N, labels)."""

    pixels: NDArray[np.uint8]
    truth: NDArray[np.float32]


def trained_tagger(work: Path) -> Tagger:
    """Returns the averaged tagger."""
    tagger = Tagger()
    load_average(work / "tagger.safetensors", {"tagger": tagger})
    return tagger.eval()


def train(work: Path, minutes: float | None) -> None:
    """Trains the tagger on clean, blurred, padded and autoencoded pictures, and logs its accuracy."""
    drawn, small = load_pictures(work, FULL_PX), load_pictures(work, SMALL_PX, 2000)
    clean = Examples(drawn.pixels[:-_HELD_OUT], _truth(drawn)[:-_HELD_OUT])
    coarse = Examples(_enlarged(small.pixels), _truth(small))
    blurred = Examples(through_vae(work, drawn.pixels[:_THROUGH_VAE]), clean.truth[:_THROUGH_VAE])
    tagger = Tagger()

    def loss_of(step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((_SEED, step))
        parts = [_pick(clean, 24, rng), _pick(blurred, 18, rng), _pick(coarse, 6, rng)]
        pixels = _augmented(np.concatenate([part.pixels for part in parts]), rng)
        truth = torch.from_numpy(np.concatenate([part.truth for part in parts]))
        truth = truth.to(DEVICE)
        with half_precision():
            logits = tagger(to_tensor(pixels).to(DEVICE)).float()
        wrong = float(((logits > 0) != (truth > 0.5)).float().mean())
        return functional.binary_cross_entropy_with_logits(logits, truth) * 10, {"wrong": wrong}

    fit("tagger", work, {"tagger": tagger}, loss_of, Budget(steps=6000, minutes=minutes or 7, lr=2e-3, ema=0.99))
    LOG.info("tagger: %s", accuracy(work))


def accuracy(work: Path) -> dict[str, dict[str, float]]:
    """Returns how well the tagger reads pictures that no training saw, clean and as the VAE gives them back."""
    tagger, drawn = trained_tagger(work), load_pictures(work, FULL_PX)
    pixels, truth = drawn.pixels[-_HELD_OUT:], _truth(drawn)[-_HELD_OUT:]
    return {
        "clean": reading_figures(_probabilities(tagger, pixels), truth),
        "through the VAE": reading_figures(_probabilities(tagger, through_vae(work, pixels)), truth),
    }


def reading_figures(probabilities: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    """Returns the balanced accuracy (mean and weakest labels) at one half and the expected calibration error.

    Args:
        probabilities: (N, labels).
        truth: (N, labels), 0 or 1. Labels that all pictures or none have tell nothing and are left out.

    Returns:
        `balanced`: mean over labels of (share found of those there + share rejected of those not there) / 2;
        `calibration error`: Guo et al. 2017, ten bins over all answers; then the five weakest labels' accuracies.
    """
    said, there = probabilities >= 0.5, truth > 0.5
    told = [k for k in range(len(LABELS)) if 0 < there[:, k].sum() < len(there)]
    each = {LABELS[k]: float(said[there[:, k], k].mean() + 1 - said[~there[:, k], k].mean()) / 2 for k in told}
    weakest = sorted(each, key=lambda label: each[label])[:5]
    return {
        "balanced": round(float(np.mean(list(each.values()))), 4),
        "calibration error": round(_calibration_error(probabilities[:, told], truth[:, told]), 4),
        **{label: round(each[label], 3) for label in weakest},
    }


def _calibration_error(probabilities: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    bins = np.minimum((probabilities * 10).astype(int), 9)
    gaps = [
        abs(float(probabilities[bins == k].mean() - truth[bins == k].mean())) * float((bins == k).mean())
        for k in range(10)
        if (bins == k).any()
    ]
    return sum(gaps)


@torch.no_grad()
def _probabilities(tagger: Tagger, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = [tagger(to_tensor(part)).sigmoid() for part in np.array_split(pixels, max(1, len(pixels) // 50))]
    return torch.cat(parts).numpy()


@torch.no_grad()
def through_vae(work: Path, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the pictures as the autoencoder gives them back, from slightly noisy latents."""
    vae, out = trained_vae(work).to(DEVICE), []
    noise = torch.Generator().manual_seed(_SEED)
    for start in range(0, len(pixels), 40):
        with half_precision():
            latents = vae.encode(to_tensor(pixels[start : start + 40]).to(DEVICE)).latent_dist.mean.float()
            latents += (
                0.12
                / 0.18215
                * torch.rand(len(latents), 1, 1, 1, generator=noise)
                * torch.randn(latents.shape, generator=noise)
            ).to(DEVICE)
            decoded = vae.decode(latents).sample.float()
        out.append(((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(out)


def _truth(pictures: Pictures) -> NDArray[np.float32]:
    index = {label: k for k, label in enumerate(LABELS)}
    truth = np.zeros((len(pictures.tags), len(LABELS)), np.float32)
    truth[:, index["general"]] = 1
    for row, tags in enumerate(pictures.tags):
        truth[row, [index[tag] for tag in tags]] = 1
        truth[row, index[CHARACTER]] = float(set(tags) >= _CHARACTER_TAGS)
    return truth


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack(
        [np.asarray(Image.fromarray(p).resize((FULL_PX, FULL_PX), Image.Resampling.BICUBIC)) for p in pixels]
    )


def _pick(examples: Examples, count: int, rng: np.random.Generator) -> Examples:
    chosen = rng.integers(0, len(examples.pixels), count)
    return Examples(examples.pixels[chosen], examples.truth[chosen])


def _augmented(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns the pictures mirrored, softened or padded with white at random; none of it changes a tag."""
    out = pixels.copy()
    for k, dice in enumerate(rng.random((len(pixels), 3))):
        if dice[0] < 0.5:
            out[k] = out[k, :, ::-1]
        picture = Image.fromarray(out[k])
        if dice[1] < 0.25:
            picture = picture.filter(ImageFilter.GaussianBlur(0.4 + 2.0 * float(dice[1])))
        if dice[2] < 0.3:
            side = int(FULL_PX * (0.72 + 0.9 * dice[2]))
            canvas = Image.new("RGB", (FULL_PX, FULL_PX), (255, 255, 255))
            canvas.paste(
                picture.resize((side, side), Image.Resampling.BILINEAR),
                ((FULL_PX - side) // 2, (FULL_PX - side) // (1 if dice[1] < 0.5 else 2)),
            )
            picture = canvas
        out[k] = np.asarray(picture)
    return out
