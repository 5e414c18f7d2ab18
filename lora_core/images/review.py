"""What shows when the pictures of a set are compared: near duplicates, soft ones, one stored otherwise."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.ma  # np.median imports it when it is first called, which is in a thread
from numpy.typing import NDArray
from PIL import Image

from lora_core.dataset import Entry, Flag, Rejected
from lora_core.images.alpha import AlphaKind
from lora_core.printable import some
from lora_core.recipe import Preprocess

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
    """Pairs of `perceptual_hash`es that differ in at most so many of their 256 bits, ordered by their places."""
    if not hashes:
        return []
    rows = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint64).reshape(len(hashes), -1)
    pairs = []
    for first, row in enumerate(rows[:-1]):
        bits = np.bitwise_count(rows[first + 1 :] ^ row).sum(axis=1)
        pairs += [Pair(first, first + 1 + int(at), int(bits[at])) for at in np.flatnonzero(bits <= most_bits)]
    return pairs


_WINDOW_PX = 9
# Sums over every fourth line differ from those over all lines by less than .003, and cost a quarter.
_EVERY_LINE = 4


def blur(image: Image.Image) -> float:
    """Blur from 0, sharp, to 1, blurred: how little neighbouring pixels' differences lose when the picture is blurred.

    Crété, Dolmiere, Ladret, Nicolas 2007, "The blur effect: perception and estimation with a new no-reference
    perceptual blur metric": mean filter over 9 pixels, along rows and along columns; the worse of the two counts. Being
    a ratio, it does not depend on how much there is to see. A picture of one colour has 1.

    Args:
        image: any mode; its grey version is read, at its own size.
    """
    grey = np.asarray(image.convert("L"))
    return max(_blur_along_rows(grey[::_EVERY_LINE]), _blur_along_rows(grey.T[::_EVERY_LINE]))


def _blur_along_rows(lines: NDArray[np.uint8]) -> float:
    half = _WINDOW_PX // 2
    values = np.pad(lines, ((0, 0), (half, half)), mode="edge").astype(np.int32)
    # Two neighbouring means share all but the first and the last pixel.
    blurred = np.abs(values[:, _WINDOW_PX:] - values[:, :-_WINDOW_PX]) / _WINDOW_PX
    sharp = np.abs(np.diff(values[:, half:-half], axis=1))
    total = float(sharp.sum())
    return 1 - float(np.maximum(0, sharp - blurred).sum()) / total if total else 1.0


# A smaller share than this that stores transparency another way is rather misread than made by another program.
_ODD_SHARE = 0.25


class Facts(NamedTuple):
    """What was measured on one picture: perceptual hash, blur from 0 to 1, how its file stores transparency."""

    perceptual_hash: str
    blur: float
    alpha: AlphaKind


def review(
    entries: list[Entry], facts: list[Facts], options: Preprocess
) -> tuple[tuple[Entry, ...], tuple[Rejected, ...]]:
    """Flag what a person should look at; leave out, with the reason, what the recipe says to leave out."""
    left_out = _soft(entries, facts, options)
    kept = [(entry, fact) for entry, fact in zip(entries, facts, strict=True) if entry.source not in left_out]
    flags, copies = _alike(kept, options)
    left_out |= copies
    odd = {} if options.alpha != "detect" else _stored_otherwise(kept)
    reviewed = tuple(
        entry.model_copy(
            update={
                "flags": (
                    *entry.flags,
                    *((_soft_flag(fact, options),) if fact.blur > options.soft_above else ()),
                    *(each[entry.source] for each in (flags, odd) if entry.source in each),
                )
            }
        )
        for entry, fact in kept
        if entry.source not in left_out
    )
    images = {entry.source: entry.image for entry in entries}
    return reviewed, tuple(
        Rejected(source=source, reason=reason, harmless=True, image=images[source])
        for source, reason in left_out.items()
    )


def _soft_flag(fact: Facts, options: Preprocess) -> Flag:
    return Flag(code="soft", values=(f"{fact.blur:.2f}", f"{options.soft_above:g}"))


def _soft(entries: list[Entry], facts: list[Facts], options: Preprocess) -> dict[str, str]:
    if options.soft_pictures == "flag":
        return {}
    return {
        entry.source: f"{_soft_flag(fact, options).text}, and preprocess.soft_pictures = 'leave_out'"
        for entry, fact in zip(entries, facts, strict=True)
        if fact.blur > options.soft_above
    }


def _alike(kept: list[tuple[Entry, Facts]], options: Preprocess) -> tuple[dict[str, Flag], dict[str, str]]:
    """Near duplicates: flags by source, and the later of each pair, with a reason, if they are to be left out."""
    pairs = near_duplicates([fact.perceptual_hash for _, fact in kept], options.duplicate_bits)
    found: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    for pair in pairs:
        first, second = kept[pair.first][0], kept[pair.second][0]
        alike = f"({pair.bits} of {BITS} bits differ)"
        if options.near_duplicates == "flag":
            found.setdefault(first.source, []).append(f"{second.source} {alike}")
            found.setdefault(second.source, []).append(f"{first.source} {alike}")
        elif first.source not in left_out:
            left_out.setdefault(
                second.source,
                f"nearly the same as {first.source} {alike}, and preprocess.near_duplicates = 'leave_out'",
            )
    flags = {source: Flag(code="near_duplicate", values=(some(each),)) for source, each in found.items()}
    return flags, left_out


def _stored_otherwise(kept: list[tuple[Entry, Facts]]) -> dict[str, Flag]:
    """Pictures whose transparency is read otherwise than nearly all others': one program writes one way."""
    counts = Counter(fact.alpha for _, fact in kept if fact.alpha != "opaque")
    if len(counts) < 2:
        return {}
    (usual, most), (odd, few) = counts.most_common()
    if few / (most + few) > _ODD_SHARE:
        return {}
    flag = Flag(code="other_alpha", values=(odd, usual, str(most)))
    return {entry.source: flag for entry, fact in kept if fact.alpha == odd}
