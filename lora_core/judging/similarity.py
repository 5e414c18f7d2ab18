"""Similarity of samples to screenshots, and to each other: by perceptual hash, without any model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lora_core.dataset import Frozen, Manifest
from lora_core.images.duplicates import BITS, perceptual_hash
from lora_core.images.parallel import in_parallel
from lora_core.memo import memo, memo_key
from lora_core.sampling.samples import Samples
from lora_core.store import Store

UNRELATED_BITS = BITS // 2
"""Two pictures that have nothing to do with each other differ in half of the bits."""

_WHITE = (255, 255, 255)


Views = Callable[[Image.Image], list[Image.Image]]


class Nearest(Frozen):
    """The training picture that a sample is most like."""

    picture: str
    bits: int

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.picture}, {self.bits} of {BITS} bits differ (unrelated pictures: {UNRELATED_BITS})"


@dataclass(frozen=True)
class Similarity:
    """All samples by their hashes.

    Attributes:
        nearest: sample's image digest → the training picture most like it; empty without training pictures.
        hashes: sample's image digest → its hash as a whole, in hexadecimal; empty: nothing was compared.
    """

    nearest: dict[str, Nearest]
    hashes: dict[str, str]

    def distance(self, one: str, other: str) -> float:
        """Between two samples, from 0, the same, to about 1, unrelated."""
        return (int(self.hashes[one], 16) ^ int(self.hashes[other], 16)).bit_count() / UNRELATED_BITS

    def distances(self, images: Sequence[str]) -> list[float]:
        """Of every two samples."""
        return [self.distance(one, other) for one, other in combinations(images, 2)] if self.hashes else []


def compare(store: Store, samples: Samples, training: Manifest) -> Similarity:
    """The nearest training picture of every sample, mirrored or not; hashes are made once for each picture.

    A sample that is not square is compared as a whole, on white, and by its squares at both ends and in the middle:
    screenshots are square.
    """
    images = list(dict.fromkeys(sample.image for sample in samples.samples))
    hashes = dict(zip(images, in_parallel(lambda image: _sample_hashes(store, image), images), strict=True))
    sources = list(in_parallel(lambda entry: _screenshot_hashes(store, entry.image), training.entries))
    names = [entry.name for entry, own in zip(training.entries, sources, strict=True) for _ in own]
    known = _rows([hash_ for own in sources for hash_ in own])
    nearest = {image: _nearest(_rows(own), known, names) for image, own in hashes.items()} if names else {}
    return Similarity(nearest, {image: own[0] for image, own in hashes.items()})


def sample_views(picture: Image.Image) -> list[Image.Image]:
    """A sample as squares: the whole on white and, if it is none itself, those at both ends and in the middle."""
    return [_on_white(picture), *_squares(picture)]


def screenshot_views(picture: Image.Image) -> list[Image.Image]:
    """A screenshot, and mirrored."""
    return [picture, ImageOps.mirror(picture)]


def _nearest(own: NDArray[np.uint64], known: NDArray[np.uint64], names: Sequence[str]) -> Nearest:
    bits = np.bitwise_count(known[:, None] ^ own[None]).sum(axis=2).min(axis=1)
    first = int(bits.argmin())
    return Nearest(picture=names[first], bits=int(bits[first]))


def _rows(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """Shape (hashes, 4)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64).reshape(len(hashes), BITS // 64)


def _sample_hashes(store: Store, image: str) -> list[str]:
    return _kept(store, "sample", image, sample_views)


def _screenshot_hashes(store: Store, image: str) -> list[str]:
    return _kept(store, "screenshot", image, screenshot_views)


def _kept(store: Store, kind: str, image: str, views: Views) -> list[str]:
    def hashes() -> list[str]:
        with Image.open(BytesIO(store.get_bytes(image))) as opened:
            return [perceptual_hash(view) for view in views(opened.convert("RGB"))]

    return memo(store, memo_key("picture hash", kind, image), list[str], hashes)


def _on_white(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    return ImageOps.pad(picture, (side, side), color=_WHITE)


def _squares(picture: Image.Image) -> list[Image.Image]:
    if picture.width == picture.height:
        return []
    side = min(picture.size)
    return [ImageOps.fit(picture, (side, side), centering=(at, at)) for at in (0.0, 0.5, 1.0)]
