"""How near samples come to screenshots in an image encoder's space: by the cosine of their vectors."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_core.dataset import Frozen, Manifest
from lora_core.digests import canonical_json, digest_of
from lora_core.judging.embedder import Embedder
from lora_core.judging.similarity import Views, sample_views, screenshot_views
from lora_core.memo import memo, memo_key
from lora_core.progress import Progress, silent
from lora_core.sampling.samples import Samples
from lora_core.store import Store

Kind = Literal["sample", "screenshot"]
_VIEWS: Mapping[Kind, Views] = {"sample": sample_views, "screenshot": screenshot_views}


class Closest(Frozen):
    """The training picture that a sample is nearest to."""

    picture: str
    cosine: float

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.picture}, cosine {self.cosine:.2f} (what unrelated pictures have depends on the embedder)"


@dataclass(frozen=True)
class Embedded:
    """All samples by their vectors.

    Attributes:
        embedder: digest of its files; cosines of two encoders cannot be compared.
        closest: sample's image digest → the training picture nearest to it; empty without training pictures.
        mean: sample's image digest → mean cosine to the training pictures.
    """

    embedder: str
    closest: Mapping[str, Closest]
    mean: Mapping[str, float]


def embed(
    store: Store, samples: Samples, training: Manifest, files: Mapping[str, Path], progress: Progress = silent
) -> Embedded:
    """Compare every sample with every training picture; a picture is read once by each encoder.

    The nearest is looked for as by hash, in squares of samples and mirrored (`similarity.compare`); the mean is of the
    pictures as they are, a sample that is not square on white.

    Raises:
        TaggerError: the encoder cannot be used.
    """
    model = digest_of(canonical_json([[name, store.digest_of_file(files[name])] for name in sorted(files)]))
    read = _Reader(store, files, model)
    images = list(dict.fromkeys(sample.image for sample in samples.samples))
    total = len(images) + len(training.entries)

    def vectors(image: str, kind: Kind, number: int) -> NDArray[np.float32]:
        found = read(image, kind)
        progress(number, total)
        return found

    shots = [vectors(entry.image, "screenshot", n) for n, entry in enumerate(training.entries, start=1)]
    drawn = {image: vectors(image, "sample", n) for n, image in enumerate(images, start=len(shots) + 1)}
    if not shots:
        return Embedded(model, {}, {})
    names = [entry.name for entry, own in zip(training.entries, shots, strict=True) for _ in own]
    every, middle = np.concatenate(shots), np.stack([own[0] for own in shots]).mean(axis=0)
    return Embedded(
        embedder=model,
        closest={image: _closest(own @ every.T, names) for image, own in drawn.items()},
        mean={image: float(own[0] @ middle) for image, own in drawn.items()},
    )


def _closest(cosines: NDArray[np.float32], names: list[str]) -> Closest:
    """Args: cosines: shape (views, training views)."""
    best = cosines.max(axis=0)
    first = int(best.argmax())
    # What float32 tells: a copy is 1 on every processor.
    return Closest(picture=names[first], cosine=min(1.0, round(float(best[first]), 6)))


class _Reader:
    """Vectors from the store, else from the encoder, which is opened for the first that is not there."""

    def __init__(self, store: Store, files: Mapping[str, Path], model: str) -> None:
        self._store, self._files, self._model = store, files, model
        self._embedder: Embedder | None = None

    def __call__(self, image: str, kind: Kind) -> NDArray[np.float32]:
        """Shape (views, features), each of length 1."""
        key = memo_key("picture embedding", kind, self._model, image)
        rows = memo(self._store, key, list[str], lambda: self._vectors(image, kind))
        return np.stack([np.frombuffer(bytes.fromhex(row), dtype="<f4") for row in rows])

    def _vectors(self, image: str, kind: Kind) -> list[str]:
        """In hexadecimal: a third of the room that numbers take as text."""
        self._embedder = self._embedder or Embedder.load(self._files)
        with Image.open(BytesIO(self._store.get_bytes(image))) as opened:
            found = [self._embedder.vector(view) for view in _VIEWS[kind](opened.convert("RGB"))]
        return [vector.astype("<f4").tobytes().hex() for vector in found]
