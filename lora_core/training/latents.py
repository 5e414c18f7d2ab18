"""The pictures' latents and how much each place of them counts.

Encoded once for a picture and a VAE, kept in the store, held in memory while training. All in float32: an fp16 VAE
overflows on some checkpoints and gives black pictures.
"""

import contextlib
import hashlib
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch.nn import functional

from lora_core.dataset import Entry
from lora_core.device import counter_generator, numerics
from lora_core.errors import ImageError, StoreError, TrainingError
from lora_core.progress import Progress
from lora_core.refs import Digest
from lora_core.store import Store
from lora_core.store.memo import memo_key
from lora_core.training.buckets import fit
from lora_core.training.samples import Picture


def picture_tensor(picture: Image.Image) -> torch.Tensor:
    """An RGB picture as (3, H, W) float32 in [-1, 1]."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1.0).permute(2, 0, 1).contiguous()


class Moments(NamedTuple):
    """What the VAE says of a picture: mean and standard deviation of each of its latents, (4, h, w) float32."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def sample(self, generator: torch.Generator, factor: float) -> torch.Tensor:
        """One sample, scaled by the VAE's factor; the generator is on the CPU, whatever the VAE was on."""
        noise = torch.randn(self.mean.shape, generator=generator)
        return (self.mean + self.deviation * noise) * factor


@torch.no_grad()
def moments(vae: AutoencoderKL, pixels: Sequence[torch.Tensor]) -> list[Moments]:
    """The VAE's latent distribution of each picture of a batch, on the CPU.

    Args:
        vae: in float32.
        pixels: each (3, H, W) in [-1, 1], all of one size; H and W divisible by 8.
    """
    device = next(vae.parameters()).device
    distribution = vae.encode(torch.stack(list(pixels)).to(device, torch.float32)).latent_dist
    found = zip(distribution.mean.cpu(), distribution.std.cpu(), strict=True)
    return [Moments(mean.clone(), deviation.clone()) for mean, deviation in found]


_LATENT = 3
_Name = tuple[str, tuple[int, int]]
"""A picture's digest, and its bucket."""


def cached_latents(
    store: Store,
    vae: AutoencoderKL,
    pictures: Sequence[Picture],
    seed: int,
    progress: Progress,
    total_steps: int,
    at_once: int = 1,
) -> tuple[torch.Tensor, ...]:
    """One latent a picture, from the store or encoded now and kept there.

    What is kept is the VAE's distribution, by the bytes of the picture and of the VAE and by what last bits depend on;
    so every training on this VAE that shows a picture at this size shares it. As sd-scripts does when it caches
    latents, each latent is one sample of it, drawn once; here from (seed, the picture's digest), so that it depends on
    nothing else.

    Args:
        store: holds the pictures.
        vae: in float32.
        pictures: of the whole training.
        seed: of the run.
        progress: told which picture is encoded, at step 0 of the training.
        total_steps: of the training.
        at_once: most pictures that go through the VAE together. More than one can change last bits, and on a CPU
            nothing is gained by it.

    Returns:
        (4, h, w) float32 on the CPU for each picture; pictures of equal bytes and size share one.

    Raises:
        ImageError: a picture's bytes are no picture.
        TrainingError: the VAE gives values that are not finite.
    """
    same = [vae_digest(vae), next(vae.parameters()).device.type, numerics()]
    unique = {(picture.entry.image, picture.placement.bucket): picture for picture in pictures}
    keys = {name: memo_key("latent", *name, same) for name in unique}
    found = {name: kept for name, key in keys.items() if (kept := _kept(store, key)) is not None}
    for names in _batches([name for name in unique if name not in found], at_once):
        progress(0, total_steps, f"encoding picture {list(unique).index(names[0]) + 1}/{len(unique)}")
        for name, made in zip(names, _encoded(store, vae, [unique[name] for name in names]), strict=True):
            store.set_record(keys[name], store.put_bytes(save(made._asdict())))
            found[name] = made
    latents = {
        name: found[name].sample(counter_generator(seed, _LATENT, int(name[0], 16)), vae.config.scaling_factor)
        for name in unique
    }
    return tuple(latents[picture.entry.image, picture.placement.bucket] for picture in pictures)


def _batches(names: Sequence[_Name], size: int) -> Iterator[list[_Name]]:
    """Names of pictures of one size, in order, so many at most."""
    for _, members in itertools.groupby(names, key=lambda name: name[1]):
        same = list(members)
        yield from (same[start : start + size] for start in range(0, len(same), size))


def vae_digest(vae: AutoencoderKL) -> str:
    """SHA-256 over the encoder's numbers: the same whatever file they came from."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(vae.state_dict().items()):
        if not name.startswith(("decoder.", "post_quant_conv.")):
            hasher.update(name.encode())
            hasher.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def _kept(store: Store, key: str) -> Moments | None:
    known = store.record(key, Digest)
    if known is None or not store.has(known):
        return None
    try:
        return Moments(**load(store.get_bytes(known)))
    except (SafetensorError, StoreError, TypeError):
        return None


def _encoded(store: Store, vae: AutoencoderKL, pictures: Sequence[Picture]) -> list[Moments]:
    """Of pictures of one size; where memory does not hold them all, one by one."""
    pixels = [picture_tensor(fit(_opened(store, picture.entry), picture.placement)) for picture in pictures]
    found: list[Moments] = []
    with contextlib.suppress(torch.OutOfMemoryError):
        found = moments(vae, pixels)
    if not found:
        torch.cuda.empty_cache()
        found = [each for one in pixels for each in moments(vae, [one])]
    for picture, made in zip(pictures, found, strict=True):
        if not (made.mean.isfinite().all() and made.deviation.isfinite().all()):
            raise TrainingError(
                f"{picture.entry.source}: the base model's VAE turns this picture into values that are not finite; "
                "the VAE is damaged, use another base model"
            )
    return found


def _opened(store: Store, entry: Entry) -> Image.Image:
    try:
        with Image.open(io.BytesIO(store.get_bytes(entry.image))) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ImageError(f"{entry.source}: cannot be read as a picture ({error}); replace the file") from error


_FACTOR = 8


def latent_masks(store: Store, pictures: Sequence[Picture]) -> tuple[torch.Tensor, ...]:
    """How opaque the screenshots were, averaged over the pixels of each place in the latents.

    Args:
        store: holds the masks.
        pictures: of the whole training.

    Returns:
        (1, h, w) float32 in [0, 1] for each picture; 1 everywhere for one without transparency.

    Raises:
        ImageError: a mask's bytes are no picture.
    """
    return tuple(_mask(store, picture) for picture in pictures)


def _mask(store: Store, picture: Picture) -> torch.Tensor:
    width, height = picture.placement.bucket
    if picture.entry.mask is None:
        return torch.ones(1, height // _FACTOR, width // _FACTOR)
    try:
        with Image.open(io.BytesIO(store.get_bytes(picture.entry.mask))) as mask:
            opaque = fit(mask.convert("L"), picture.placement)
    except (UnidentifiedImageError, OSError) as error:
        raise ImageError(f"{picture.entry.source}: its mask cannot be read ({error}); preprocess it again") from error
    pixels = torch.from_numpy(np.asarray(opaque, dtype=np.float32) / 255)
    return functional.avg_pool2d(pixels[None], _FACTOR)
