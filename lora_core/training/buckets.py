"""At which size a picture is trained.

Sizes are sd-scripts' aspect-ratio buckets (`BucketManager` at commit 48d368f): a table of sizes of about the same area,
the one nearest in aspect ratio, resize to cover, centre crop. Pictures smaller than the training resolution keep their
own size instead of being enlarged, as its `bucket_no_upscale` does, but no side falls below one step (there a 63×300
picture gets a bucket of 0×256).
"""

import math
from dataclasses import dataclass

from PIL import Image

_STEP_PX = 64
_MIN_PX = 256
_MAX_PX = 1024


@dataclass(frozen=True)
class Placement:
    """Sizes as (width, height) in pixels: resize to `resized`, then crop the middle to `bucket`."""

    bucket: tuple[int, int]
    resized: tuple[int, int]

    @property
    def crop(self) -> tuple[int, int]:
        """(left, top): what the crop takes off the resized picture's left and upper side."""
        return (self.resized[0] - self.bucket[0]) // 2, (self.resized[1] - self.bucket[1]) // 2


def bucket_table(
    resolution_px: int, min_px: int = _MIN_PX, max_px: int = _MAX_PX, step_px: int = _STEP_PX
) -> tuple[tuple[int, int], ...]:
    """All bucket sizes for an area of `resolution_px` squared, sorted.

    Args:
        resolution_px: side of the square bucket; rounded down to a multiple of 8, the VAE's factor.
        min_px: shortest side of the others.
        max_px: longest side of the others.
        step_px: the others' sides are multiples of this.
    """
    square = resolution_px // 8 * 8
    sizes = {(square, square)}
    for width in range(min_px, max_px + 1, step_px):
        height = min(max_px, resolution_px**2 // width // step_px * step_px)
        if height >= min_px:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def cover_bucket(size: tuple[int, int], table: tuple[tuple[int, int], ...]) -> Placement:
    """The bucket of the table that is nearest in aspect ratio (the first of equals), enlarging if need be."""
    width, height = size
    ratio = width / height
    bucket = size if size in table else min(table, key=lambda entry: abs(entry[0] / entry[1] - ratio))
    scale = bucket[1] / height if ratio > bucket[0] / bucket[1] else bucket[0] / width
    return Placement(bucket, (int(width * scale + 0.5), int(height * scale + 0.5)))


def native_bucket(size: tuple[int, int], resolution_px: int, step_px: int = _STEP_PX) -> Placement:
    """A bucket that never enlarges, except a side shorter than one step: at most the resolution's area, sides floored.

    Args:
        size: the picture's.
        resolution_px: side of a square of the largest area.
        step_px: the bucket's sides are multiples of this.
    """
    resized = _shrunk(size, resolution_px, step_px) if size[0] * size[1] > resolution_px**2 else size
    if min(resized) < step_px:
        scale = step_px / min(resized)
        resized = (max(step_px, round(resized[0] * scale)), max(step_px, round(resized[1] * scale)))
    return Placement((resized[0] // step_px * step_px, resized[1] // step_px * step_px), resized)


def _shrunk(size: tuple[int, int], resolution_px: int, step_px: int) -> tuple[int, int]:
    """The size at the largest area with one side on a step: the side that keeps the aspect ratio better."""
    ratio = size[0] / size[1]

    def rounded(side: float) -> int:
        return int(side + 0.5) // step_px * step_px

    wide = math.sqrt(resolution_px**2 * ratio)
    width, height = rounded(wide), rounded(resolution_px**2 / wide)
    height_of_width, width_of_height = rounded(width / ratio), rounded(height * ratio)
    width_error = abs(width / height_of_width - ratio) if height_of_width else math.inf
    height_error = abs(width_of_height / height - ratio) if height else math.inf
    if width_error < height_error:
        return width, int(width / ratio + 0.5)
    return (int(height * ratio + 0.5), height) if height else (width, max(1, int(width / ratio + 0.5)))


def place(size: tuple[int, int], resolution_px: int) -> Placement:
    """Where a picture is trained: in the resolution's table, or at its own size if it is smaller.

    Below 256 px, where sd-scripts' limits leave only the square, the limits shrink with the resolution.
    """
    small = resolution_px < _MIN_PX
    step_px = 8 if small else _STEP_PX
    if size[0] * size[1] < resolution_px**2:
        return native_bucket(size, resolution_px, step_px)
    min_px = resolution_px // 2 // 8 * 8 if small else _MIN_PX
    return cover_bucket(size, bucket_table(resolution_px, min_px, max(_MAX_PX, 2 * resolution_px), step_px))


def fit(picture: Image.Image, placement: Placement) -> Image.Image:
    """The picture at its bucket's size: averaged over areas when it shrinks, Lanczos when it grows, middle cropped."""
    if picture.size != placement.resized:
        shrinks = placement.resized[0] <= picture.width and placement.resized[1] <= picture.height
        picture = picture.resize(placement.resized, Image.Resampling.BOX if shrinks else Image.Resampling.LANCZOS)
    left, top = placement.crop
    return picture.crop((left, top, left + placement.bucket[0], top + placement.bucket[1]))
