"""Small copies of pictures for contact sheets, made once for each."""

import io

import numpy as np
from PIL import Image

from lora_core.errors import ImageError
from lora_core.images.alpha import flatten, read_alpha
from lora_core.images.decode import decode
from lora_core.images.png import png_bytes
from lora_core.memo import memo_key
from lora_core.refs import Digest
from lora_core.store import Store

SIDE_PX = 160
_WHITE = (255, 255, 255)


def thumbnail(store: Store, picture: str) -> Image.Image | None:
    """A picture of the store at 160 px at most, on white, as it was kept or made now; None if it can't be decoded.

    Args:
        store: where pictures and their records are.
        picture: the digest of its bytes.
    """
    known = store.record(memo_key("thumbnail", picture), Digest)
    if known is not None and store.has(known):
        return Image.open(io.BytesIO(store.get_bytes(known))).convert("RGB")
    try:
        image = decode(store.get_bytes(picture), picture).image
    except ImageError:
        return None
    if image.mode == "RGBA":
        rgba = np.asarray(image)
        image = flatten(rgba, read_alpha(rgba).kind, _WHITE)
    return keep_thumbnail(store, picture, image)


def keep_thumbnail(store: Store, picture: str, image: Image.Image) -> Image.Image:
    """Make and keep a picture's thumbnail while the picture is at hand.

    Args:
        store: where pictures and their records are.
        picture: the digest of its bytes.
        image: mode RGB.
    """
    small = image.copy()
    small.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    store.set_record(memo_key("thumbnail", picture), store.put_bytes(png_bytes(small)))
    return small
