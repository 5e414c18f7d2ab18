"""Similarity of samples to screenshots: by perceptual hash, and by cosine in an image encoder's space if there is one.

Both read a picture once, as the same views of it, and name the nearest screenshot of every sample. A sample that is not
square is compared as a whole, on white, and by its squares at both ends and in the middle: screenshots are square.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lora_core.dataset import Frozen, Manifest
from lora_core.images.parallel import in_parallel
from lora_core.images.review import BITS, perceptual_hash
from lora_core.judging.onnx_models import Embedder
from lora_core.progress import Progress, silent
from lora_core.sampling.samples import Samples
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.memo import memo, memo_key

UNRELATED_BITS = BITS // 2
"""Two pictures that have nothing to do with each other differ in half of the bits."""

_WHITE = (255, 255, 255)

_Kind = Literal["sample", "screenshot"]


class Nearest(Frozen):
    """The training picture that a sample is most like."""

    picture: str
    bits: int

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.picture}, {self.bits} of {BITS} bits differ (unrelated pictures: {UNRELATED_BITS})"


class Closest(Frozen):
    """The training picture that a sample is nearest to by the encoder."""

    picture: str
    cosine: float

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.picture}, cosine {self.cosine:.2f} (what unrelated pictures have depends on the embedder)"


@dataclass(frozen=True)
class Similarity:
    """All samples by their hashes.

    Attributes:
        nearest: sample's image digest → the training picture most like it; empty without training pictures.
        hashes: sample's image digest → its hash as a whole, in hexadecimal; empty: nothing was compared.
    """

    nearest: Mapping[str, Nearest]
    hashes: Mapping[str, str]

    def distance(self, one: str, other: str) -> float:
        """Between two samples, from 0, the same, to about 1, unrelated."""
        return (int(self.hashes[one], 16) ^ int(self.hashes[other], 16)).bit_count() / UNRELATED_BITS

    def distances(self, images: Sequence[str]) -> list[float]:
        """Of every two samples."""
        return [self.distance(one, other) for one, other in combinations(images, 2)] if self.hashes else []


@dataclass(frozen=True)
class Embedded:
    """All samples by their vectors.

    Attributes:
        embedder: digest of its files; cosines of two encoders cannot be compared.
        closest: sample's image digest → the training picture nearest to it; empty without training pictures.
        mean: sample's image digest → mean cosine to the training pictures.
        screenshots: the training pictures' own mean cosine to each other, itself left out.
    """

    embedder: str
    closest: Mapping[str, Closest]
    mean: Mapping[str, float]
    screenshots: float = 0.0


def compare(store: Store, samples: Samples, training: Manifest) -> Similarity:
    """The nearest training picture of every sample by hash, mirrored or not."""
    return compare_images(store, _images(samples), training)


def compare_images(store: Store, images: Sequence[str], training: Manifest) -> Similarity:
    """The same of any pictures, by their digests, each given once."""

    def hashes(image: str, kind: _Kind) -> list[str]:
        key = memo_key("picture hash", kind, image)
        return _kept(store, key, image, kind, perceptual_hash)

    drawn = dict(zip(images, in_parallel(lambda image: hashes(image, "sample"), images), strict=True))
    shots = list(in_parallel(lambda entry: hashes(entry.image, "screenshot"), training.entries))
    names, known = _names(training, shots), _rows([hash_ for own in shots for hash_ in own])
    nearest = {image: _nearest(_rows(own), known, names) for image, own in drawn.items()} if names else {}
    return Similarity(nearest, {image: own[0] for image, own in drawn.items()})


def embed(
    store: Store, samples: Samples, training: Manifest, files: Mapping[str, Path], progress: Progress = silent
) -> Embedded:
    """The nearest training picture of every sample by cosine, and the mean cosine to all of them.

    The nearest is found as by hash, in squares of samples and mirrored; the mean is of the pictures as they are, a
    sample that is not square on white.

    Raises:
        TaggerError: the encoder cannot be used.
    """
    model = digest_of(canonical_json([[name, store.digest_of_file(files[name])] for name in sorted(files)]))
    images = _images(samples)
    total = len(images) + len(training.entries)
    opened: list[Embedder] = []

    def vector(view: Image.Image) -> str:
        if not opened:  # only for the first picture that is not in the store
            opened.append(Embedder.load(files))
        # Hexadecimal: a third of the room that numbers take as text.
        return opened[0].vector(view).astype("<f4").tobytes().hex()

    def vectors(image: str, kind: _Kind, number: int) -> NDArray[np.float32]:
        """Shape (views, features), each of length 1."""
        key = memo_key("picture embedding", kind, model, image)
        found = _kept(store, key, image, kind, vector)
        progress(number, total)
        return np.stack([np.frombuffer(bytes.fromhex(row), dtype="<f4") for row in found])

    shots = [vectors(entry.image, "screenshot", n) for n, entry in enumerate(training.entries, start=1)]
    drawn = {image: vectors(image, "sample", n) for n, image in enumerate(images, start=len(shots) + 1)}
    if not shots:
        return Embedded(model, {}, {})
    names, every = _names(training, shots), np.concatenate(shots)
    middle = np.stack([own[0] for own in shots]).mean(axis=0)
    return Embedded(
        embedder=model,
        closest={image: _closest(own @ every.T, names) for image, own in drawn.items()},
        mean={image: float(own[0] @ middle) for image, own in drawn.items()},
        screenshots=float(np.mean([(own[0] @ middle * len(shots) - 1) / max(1, len(shots) - 1) for own in shots])),
    )


def _images(samples: Samples) -> list[str]:
    return list(dict.fromkeys(sample.image for sample in samples.samples))


def _names(training: Manifest, views: Sequence[Sequence[object] | NDArray[np.float32]]) -> list[str]:
    """The training picture of every view."""
    return [entry.name for entry, own in zip(training.entries, views, strict=True) for _ in own]


def _nearest(own: NDArray[np.uint64], known: NDArray[np.uint64], names: Sequence[str]) -> Nearest:
    bits = np.bitwise_count(known[:, None] ^ own[None]).sum(axis=2).min(axis=1)
    first = int(bits.argmin())
    return Nearest(picture=names[first], bits=int(bits[first]))


def _closest(cosines: NDArray[np.float32], names: Sequence[str]) -> Closest:
    """Args: cosines: shape (views, training views)."""
    best = cosines.max(axis=0)
    first = int(best.argmax())
    # What float32 tells: a copy is 1 on every processor.
    return Closest(picture=names[first], cosine=min(1.0, round(float(best[first]), 6)))


def _rows(hashes: Sequence[str]) -> NDArray[np.uint64]:
    """Shape (hashes, 4)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64).reshape(len(hashes), BITS // 64)


def _kept(store: Store, key: str, image: str, kind: _Kind, read: Callable[[Image.Image], str]) -> list[str]:
    """What is read of every view of a picture, in hexadecimal: from the store if it is there."""

    def work() -> list[str]:
        with Image.open(BytesIO(store.get_bytes(image))) as opened:
            return [read(view) for view in _views(opened.convert("RGB"), kind)]

    return memo(store, key, list[str], work)


def _views(picture: Image.Image, kind: _Kind) -> list[Image.Image]:
    """A screenshot and its mirror; a sample as squares: the whole on white and, if it is none, three cut out of it."""
    if kind == "screenshot":
        return [picture, ImageOps.mirror(picture)]
    sides = max(picture.size), min(picture.size)
    cuts = (0.0, 0.5, 1.0) if sides[0] != sides[1] else ()
    whole = ImageOps.pad(picture, (sides[0], sides[0]), color=_WHITE)
    return [whole, *(ImageOps.fit(picture, (sides[1], sides[1]), centering=(at, at)) for at in cuts)]
