"""The pictures' latents: encoded once for a picture and a VAE, kept in the store, held in memory while training."""

import hashlib
import io
from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load, save

from lora_core.dataset import Entry
from lora_core.device import counter_generator, numerics
from lora_core.diffusion.latents import Moments, moments, picture_tensor
from lora_core.errors import ImageError, StoreError, TrainingError
from lora_core.progress import Progress
from lora_core.store import Store, canonical_json, digest_of
from lora_core.training.buckets import fit
from lora_core.training.samples import Picture

_LATENT = 3
# Raised when what is encoded changes.
_VERSION = 1


def cached_latents(
    store: Store,
    vae: AutoencoderKL,
    pictures: Sequence[Picture],
    seed: int,
    progress: Progress,
    total_steps: int,
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

    Returns:
        (4, h, w) float32 on the CPU for each picture; pictures of equal bytes and size share one.

    Raises:
        ImageError: a picture's bytes are no picture.
        TrainingError: the VAE gives values that are not finite.
    """
    same = [vae_digest(vae), next(vae.parameters()).device.type, numerics()]
    unique = {(picture.entry.image, picture.placement.bucket): picture for picture in pictures}
    latents: dict[tuple[str, tuple[int, int]], torch.Tensor] = {}
    for done, (name, picture) in enumerate(unique.items(), 1):
        key = digest_of(canonical_json(["latent", _VERSION, *name, same]))
        found = _kept(store, key)
        if found is None:
            progress(0, total_steps, f"encoding picture {done}/{len(unique)}")
            found = _encoded(store, vae, picture)
            store.set_record(key, store.put_bytes(save(found._asdict())))
        generator = counter_generator(seed, _LATENT, int(picture.entry.image, 16))
        latents[name] = found.sample(generator, vae.config.scaling_factor)
    return tuple(latents[picture.entry.image, picture.placement.bucket] for picture in pictures)


def vae_digest(vae: AutoencoderKL) -> str:
    """SHA-256 over the encoder's numbers: the same whatever file they came from."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(vae.state_dict().items()):
        if not name.startswith(("decoder.", "post_quant_conv.")):
            hasher.update(name.encode())
            hasher.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def _kept(store: Store, key: str) -> Moments | None:
    known = store.record(key)
    if not isinstance(known, str) or not store.has(known):
        return None
    try:
        return Moments(**load(store.get_bytes(known)))
    except (SafetensorError, StoreError, TypeError):
        return None


def _encoded(store: Store, vae: AutoencoderKL, picture: Picture) -> Moments:
    found = moments(vae, picture_tensor(fit(_opened(store, picture.entry), picture.placement)))
    if not (found.mean.isfinite().all() and found.deviation.isfinite().all()):
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
