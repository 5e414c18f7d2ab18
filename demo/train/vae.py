"""The autoencoder: 128×128 pictures to 4×16×16 latents and back."""

import logging
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from demo.sheet import tile
from demo.train.loop import DEVICE, MORE, RANKS, Budget, fit, half_precision, load_average, rank, train_in_ranks
from demo.train.render import FULL_PX, Pictures, load_pictures

LOG = logging.getLogger(__name__)

SCALING: Final = 0.18215
_CHANNELS: Final = (16, 32, 64, 128)
_BATCH: Final = 4 * MORE // RANKS
_CROP_PX: Final = 64
# Many small steps on crops teach more in an hour than few on whole pictures.
_CROPS_UNTIL: Final = 0.85
_EDGES_FROM: Final = 0.6
_EDGE_WEIGHT: Final = 0.5
_KL: Final = 2e-6
_FACE_WEIGHT: Final = 2.0
_HELD_OUT: Final = 256
_SEED: Final = 101


def new_vae() -> AutoencoderKL:
    """Returns a fresh autoencoder that begins near the identity."""
    torch.manual_seed(_SEED)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=_CHANNELS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=FULL_PX,
        scaling_factor=SCALING,
        mid_block_add_attention=False,
    )
    for module in vae.modules():
        _near_identity(module)
    return vae


def trained_vae(work: Path) -> AutoencoderKL:
    """Returns the averaged autoencoder with whitened latents, so that 0.18215 is its exact scaling factor."""
    vae = new_vae()
    load_average(work / "vae.safetensors", {"vae": vae})
    if (work / "decoder.safetensors").exists():
        load_average(work / "decoder.safetensors", {"vae": vae})
    vae.eval()
    _fold_whitening(vae, load_pictures(work, FULL_PX, 2000).pixels[:512])
    return vae


def train(work: Path, minutes: float | None) -> None:
    """Trains the autoencoder and writes its state, a sheet of reconstructions and its error."""
    train_in_ranks(partial(_train, work, minutes))
    report(work)


def _train(work: Path, minutes: float | None) -> None:
    pictures = load_pictures(work, FULL_PX)
    vae = new_vae()

    def loss_of(step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((_SEED, step, rank()))
        images, weight = _batch(pictures, rng, crops=done < _CROPS_UNTIL)
        with half_precision():
            posterior = vae.encode(images).latent_dist
            noise = torch.randn(
                posterior.mean.shape, generator=torch.Generator().manual_seed(step * RANKS + rank())
            ).to(DEVICE)
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        decoded = decoded.float()
        squared = ((decoded - images) ** 2 * weight).mean()
        loss = squared * 4 + ((decoded - images).abs() * weight).mean() + _KL * posterior.kl().mean()
        if done > _EDGES_FROM:
            loss = loss + _EDGE_WEIGHT * _edge_error(decoded, images, weight)
        return loss, {"psnr": _psnr(decoded.detach(), images)}

    fit(
        "vae",
        work,
        {"vae": vae},
        loss_of,
        Budget(steps=60_000, minutes=minutes or 60, lr=2e-3, ema=0.998, weight_decay=0.0),
    )


def train_decoder(work: Path, minutes: float | None) -> None:
    """Goes on with the decoder alone: pictures get sharper while cached latents and U-Net stay valid."""
    train_in_ranks(partial(_train_decoder, work, minutes))
    report(work)


def _train_decoder(work: Path, minutes: float | None) -> None:
    pictures = load_pictures(work, FULL_PX)
    vae = new_vae()
    load_average(work / "vae.safetensors", {"vae": vae})
    for frozen in (vae.encoder, vae.quant_conv):
        frozen.requires_grad_(False)

    def loss_of(step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        images, weight = _batch(pictures, np.random.default_rng((_SEED + 1, step, rank())), crops=False)
        with half_precision():
            with torch.no_grad():
                latents = vae.encode(images).latent_dist.mean
            decoded = vae.decode(latents).sample
        decoded = decoded.float()
        squared = ((decoded - images) ** 2 * weight).mean()
        loss = squared * 4 + ((decoded - images).abs() * weight).mean()
        loss = loss + _EDGE_WEIGHT * _edge_error(decoded, images, weight)
        return loss, {"psnr": _psnr(decoded.detach(), images)}

    fit(
        "decoder",
        work,
        {"vae": vae},
        loss_of,
        Budget(30_000, minutes=minutes or 12, lr=1e-3, ema=0.995, weight_decay=0),
    )


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Returns pixels (N, H, W, 3) uint8 as (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Returns images (N, 3, H, W) in [-1, 1] as PIL pictures."""
    pixels = ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(image) for image in pixels]


def _near_identity(module: nn.Module) -> None:
    if isinstance(module, ResnetBlock2D):
        with torch.no_grad():
            module.conv2.weight.mul_(0.2)
    elif isinstance(module, Upsample2D):
        nn.init.dirac_(module.conv.weight)
    elif isinstance(module, Downsample2D):
        _averaging(module.conv.weight)


@torch.no_grad()
def _averaging(weight: Tensor) -> None:
    weight.zero_()
    for channel in range(weight.shape[0]):
        weight[channel, channel, :2, :2] = 0.25


def _batch(pictures: Pictures, rng: np.random.Generator, crops: bool) -> tuple[Tensor, Tensor]:
    """Returns images (B, 3, side, side) and weights (B, 1, side, side) that count faces more."""
    count = len(pictures.pixels) - _HELD_OUT
    chosen = rng.integers(0, count, _BATCH * 3 if crops else _BATCH)
    if not crops:
        whole = to_tensor(pictures.pixels[chosen]).to(DEVICE)
        return whole, _face_weights(pictures.faces[chosen], FULL_PX).to(DEVICE)
    images, faces = [], []
    for k, index in enumerate(chosen):
        x, y = rng.integers(0, FULL_PX - _CROP_PX + 1, 2)
        if k % 2:
            # Every other crop shows the face.
            near = pictures.faces[index, :2] + rng.uniform(-0.5, 0.5, 2) * pictures.faces[index, 2] - _CROP_PX / 2
            x, y = np.clip(near, 0, FULL_PX - _CROP_PX).astype(int)
        images.append(pictures.pixels[index, y : y + _CROP_PX, x : x + _CROP_PX])
        faces.append(pictures.faces[index] - np.array([x, y, 0], np.float32))
    return to_tensor(np.stack(images)).to(DEVICE), _face_weights(np.stack(faces), _CROP_PX).to(DEVICE)


def _face_weights(faces: NDArray[np.float32], side: int) -> Tensor:
    place = torch.arange(side).float()
    x, y, radius = (torch.from_numpy(faces[:, k])[:, None, None] for k in range(3))
    inside = (place[None, None, :] - x) ** 2 + (place[None, :, None] - y) ** 2 < radius**2
    # Small faces count most: a mouth of four pixels is lost first.
    return (1 + _FACE_WEIGHT * inside * (30 / radius).clamp(0.4, 1.5))[:, None]


def _edge_error(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Returns the mean absolute difference of the pictures' slopes."""
    difference = a - b
    right = (difference[..., :, 1:] - difference[..., :, :-1]).abs() * weight[..., :, 1:]
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * weight[..., 1:, :]
    return right.mean() + down.mean()


def _psnr(a: Tensor, b: Tensor) -> float:
    """Returns the peak signal-to-noise ratio in dB of images in [-1, 1], mean over images."""
    error = ((a.clamp(-1, 1) - b) ** 2).mean(dim=(1, 2, 3)).clamp(min=1e-6)
    return float((10 * torch.log10(4 / error)).mean())


@torch.no_grad()
def _fold_whitening(vae: AutoencoderKL, pixels: NDArray[np.uint8]) -> None:
    """Folds whitening into the quant convolutions: latents get mean 0, deviation 1/0.18215, uncorrelated channels."""
    moments = torch.cat([vae.encode(to_tensor(pixels[k : k + 32])).latent_dist.mean for k in range(0, len(pixels), 32)])
    flat = moments.permute(1, 0, 2, 3).flatten(1).double()
    mean = flat.mean(1)
    values, vectors = torch.linalg.eigh(torch.cov(flat))
    whiten = (vectors / values.sqrt() @ vectors.T) / SCALING
    colour = torch.linalg.inv(whiten)
    quant, post = vae.quant_conv, vae.post_quant_conv
    weight, bias = quant.weight[:, :, 0, 0].double(), quant.bias.double()
    # The log-variance half is left as it is but for the scale: the posterior's mean is what training caches.
    quant.weight[:4, :, 0, 0] = (whiten @ weight[:4]).float()
    quant.bias[:4] = (whiten @ (bias[:4] - mean)).float()
    quant.bias[4:] += (2 * torch.log(whiten.diagonal())).float()
    post_weight, post_bias = post.weight[:, :, 0, 0].double(), post.bias.double()
    post.weight[:, :, 0, 0] = (post_weight @ colour).float()
    post.bias[:] = (post_weight @ mean + post_bias).float()


def report(work: Path) -> None:
    """Logs the error on held-out pictures and writes `work/vae.png`: pictures beside their reconstructions."""
    images, decoded = _held_out(work)
    LOG.info("vae held-out PSNR %.2f dB on %d pictures", _psnr(decoded, images), len(images))
    pairs = [
        picture for pair in zip(to_pictures(images[:40]), to_pictures(decoded[:40]), strict=True) for picture in pair
    ]
    tile(pairs, 10).save(work / "vae.png")


def psnr_held_out(work: Path) -> float:
    """Returns the mean PSNR in dB of pictures that no training saw."""
    images, decoded = _held_out(work)
    return _psnr(decoded, images)


@torch.no_grad()
def _held_out(work: Path) -> tuple[Tensor, Tensor]:
    vae = trained_vae(work)
    images = to_tensor(load_pictures(work, FULL_PX).pixels[-_HELD_OUT:])
    batches = torch.split(images, 32)
    return images, torch.cat([vae.decode(vae.encode(batch).latent_dist.mode()).sample for batch in batches])
