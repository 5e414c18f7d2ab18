"""Pictures that show nearly the same."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.ma  # np.median imports it when it is first called, which is in a thread
from numpy.typing import NDArray
from PIL import Image

_SIDE = 16
BITS = _SIDE * _SIDE
_DECIMALS = 6
# The hash reads the lowest quarter of the frequencies.
_GREY_PX = 4 * _SIDE


class Pair(NamedTuple):
    """Two near duplicates, by their places in the sequence, `first` < `second`, and the bits in which they differ."""

    first: int
    second: int
    bits: int


def perceptual_hash(image: Image.Image) -> str:
    """256 bits of what a picture shows, in hexadecimal: ImageHash's `phash` with `hash_size=16`, bit for bit.

    Grey, 64×64, discrete cosine transform, the lowest 16×16 frequencies, each bit whether it is above their median.

    Args:
        image: any mode and size.
    """
    small = image.convert("L").resize((_GREY_PX, _GREY_PX), Image.Resampling.LANCZOS)
    # A frequency that a picture lacks must be 0, and not what each processor's own order of summing leaves of it.
    lowest = (_COSINES @ np.asarray(small, dtype=np.float64) @ _COSINES.T).round(_DECIMALS)
    return np.packbits(lowest > np.median(lowest)).tobytes().hex()


def _cosines() -> NDArray[np.float64]:
    """The first 16 rows of the DCT-II matrix over 64 samples, shape (16, 64)."""
    frequency, sample = np.arange(_SIDE)[:, None], np.arange(_GREY_PX)[None, :]
    return np.asarray(2 * np.cos(np.pi * frequency * (2 * sample + 1) / (2 * _GREY_PX)))


_COSINES = _cosines()


def near_duplicates(hashes: Sequence[str], most_bits: int) -> list[Pair]:
    """Pairs of hashes that differ in at most so many bits, ordered by their places.

    Args:
        hashes: of `perceptual_hash`.
        most_bits: of the 256.
    """
    if not hashes:
        return []
    rows = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64).reshape(len(hashes), -1)
    pairs = []
    for first, row in enumerate(rows[:-1]):
        bits = np.bitwise_count(rows[first + 1 :] ^ row).sum(axis=1)
        pairs += [Pair(first, first + 1 + int(at), int(bits[at])) for at in np.flatnonzero(bits <= most_bits)]
    return pairs
