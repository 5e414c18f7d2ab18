"""The pictures' latents, encoded once and kept beside the training's state."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lora_core.dataset import Entry
from lora_core.device import counter_generator
from lora_core.diffusion.latents import encode, picture_tensor
from lora_core.errors import ImageError, TrainingError
from lora_core.progress import Progress
from lora_core.store import Store, replacing
from lora_core.training.buckets import fit
from lora_core.training.samples import Picture

_LATENT = 3


def cached_latents(
    path: Path,
    store: Store,
    vae: AutoencoderKL,
    pictures: Sequence[Picture],
    seed: int,
    progress: Progress,
    total_steps: int,
) -> tuple[torch.Tensor, ...]:
    """One latent a picture, from the file at `path` or encoded now and written there.

    As sd-scripts does when it caches latents, each is one sample of the VAE's distribution, drawn once; here from
    (seed, the picture's digest), so that it depends on nothing else.

    Args:
        path: of the cache, in the work folder of the training's key.
        store: holds the pictures.
        vae: in float32.
        pictures: of the whole training.
        seed: of the run.
        progress: told which picture is encoded, at step 0 of the training.
        total_steps: of the training.

    Returns:
        (4, h, w) float32 on the CPU for each picture; pictures of equal bytes and size share one.

    Raises:
        ImageError: a picture's bytes are no picture.
        TrainingError: the VAE gives values that are not finite.
    """
    names = [_name(picture) for picture in pictures]
    known = _read(path)
    if not known.keys() >= set(names):
        unique = dict(zip(names, pictures, strict=True))
        known = {}
        for done, (name, picture) in enumerate(unique.items(), 1):
            progress(0, total_steps, f"encoding picture {done}/{len(unique)}")
            known[name] = _encoded(store, vae, picture, seed)
        with replacing(path) as temporary:
            save_file(known, temporary)
    return tuple(known[name] for name in names)


def _name(picture: Picture) -> str:
    width, height = picture.placement.bucket
    return f"{picture.entry.image}-{width}x{height}"


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.exists():
        return {}
    try:
        return {name: latent.clone() for name, latent in load_file(path).items()}
    except SafetensorError:
        return {}


def _encoded(store: Store, vae: AutoencoderKL, picture: Picture, seed: int) -> torch.Tensor:
    generator = counter_generator(seed, _LATENT, int(picture.entry.image, 16))
    latent = encode(vae, picture_tensor(fit(_opened(store, picture.entry), picture.placement)), generator)
    if not latent.isfinite().all():
        raise TrainingError(
            f"{picture.entry.source}: the base model's VAE turns this picture into values that are not finite; "
            "the VAE is damaged, use another base model"
        )
    return latent


def _opened(store: Store, entry: Entry) -> Image.Image:
    try:
        with Image.open(io.BytesIO(store.get_bytes(entry.image))) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ImageError(f"{entry.source}: cannot be read as a picture ({error}); replace the file") from error
