"""How much each place of the pictures' latents counts in a masked loss."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.nn import functional

from lora_core.errors import ImageError
from lora_core.store import Store
from lora_core.training.buckets import fit
from lora_core.training.samples import Picture

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
