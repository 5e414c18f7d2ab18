"""Where the subject of a screenshot is, whatever specks lie around it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

# Fainter pixels are what renderers leave behind, not the subject.
FAINTEST_ALPHA = 4
_BACKGROUND_TOLERANCE_LEVELS = 8
_GRID_CELLS = 96
# A piece is a speck up to so many pixels, or up to this share of the largest piece.
_MOST_SPECK_PX = 16
_MOST_SPECK_SHARE = 0.0002


@dataclass(frozen=True)
class Box:
    """Pixels from (left, top) up to, not including, (right, bottom); a frame's may lie outside the picture."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels."""
        return self.bottom - self.top


class Subject(NamedTuple):
    """What stands out of a picture.

    Attributes:
        box: around it, without specks that lie apart.
        pixels: how many pixels it has.
        specks: how many pixels lie apart and do not count.
    """

    box: Box
    pixels: int
    specks: int


def subject_of(image: Image.Image) -> Subject | None:
    """Where the subject is: what is not transparent, or what differs from a plain background.

    A picture without transparency whose four corners differ has no plain background: all of it is the subject. A few
    pixels that lie apart, such as a stray one in a corner, are no part of it.

    Args:
        image: mode RGB, or RGBA with something transparent in it.

    Returns:
        None if every pixel is transparent, or all are of one colour.
    """
    if image.mode == "RGBA":
        return _without_specks(np.asarray(image.getchannel("A")) > FAINTEST_ALPHA)
    colour = plain_background(image)
    if colour is not None:
        apart = np.asarray(ImageChops.difference(image, Image.new("RGB", image.size, colour)))
        return _without_specks(apart.max(axis=2) > _BACKGROUND_TOLERANCE_LEVELS)
    return Subject(Box(0, 0, image.width, image.height), image.width * image.height, 0)


def _without_specks(visible: NDArray[np.bool_]) -> Subject | None:
    """The box of the largest connected piece and of all others that are no specks; `visible` has shape (H, W).

    Pieces are told apart on a coarse grid, and only where the picture has empty rows or columns between them.
    """
    pixels = int(visible.sum())
    if not pixels:
        return None
    cell = max(1, -(-max(visible.shape) // _GRID_CELLS))
    counts = _cell_counts(visible, cell)
    occupied = counts > 0
    if _in_one_stretch(occupied.max(axis=0)) and _in_one_stretch(occupied.max(axis=1)):
        return Subject(_box_of(visible), pixels, 0)
    pieces = _pieces(occupied)
    weights = np.bincount(pieces.ravel(), counts.ravel())
    most = min(max(_MOST_SPECK_PX, weights.max() * _MOST_SPECK_SHARE), weights.max() - 1)
    dropped = (weights[pieces] <= most) & occupied
    specks = int(counts[dropped].sum())
    spread = dropped.repeat(cell, axis=0).repeat(cell, axis=1)[: visible.shape[0], : visible.shape[1]]
    kept = visible & ~spread
    return Subject(_box_of(kept), pixels - specks, specks)


def _cell_counts(visible: NDArray[np.bool_], cell: int) -> NDArray[np.int64]:
    """Visible pixels in each square of `cell` pixels."""
    rows = np.add.reduceat(visible, np.arange(0, visible.shape[0], cell), axis=0, dtype=np.int64)
    return np.asarray(np.add.reduceat(rows, np.arange(0, visible.shape[1], cell), axis=1))


def _in_one_stretch(occupied: NDArray[np.bool_]) -> bool:
    places = np.flatnonzero(occupied)
    return int(places[-1] - places[0]) + 1 == len(places)


def _pieces(occupied: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each cell the number of its piece: cells that touch each other, corners included; 0: not occupied."""
    numbers = np.where(occupied, np.arange(1, occupied.size + 1).reshape(occupied.shape), 0)
    while True:  # the largest number of a piece spreads through it, a cell in every direction at a time
        tall = numbers.copy()
        np.maximum(tall[1:], numbers[:-1], out=tall[1:])
        np.maximum(tall[:-1], numbers[1:], out=tall[:-1])
        wide = tall.copy()
        np.maximum(wide[:, 1:], tall[:, :-1], out=wide[:, 1:])
        np.maximum(wide[:, :-1], tall[:, 1:], out=wide[:, :-1])
        spread = np.where(occupied, wide, 0)
        if np.array_equal(spread, numbers):
            return numbers
        numbers = spread


def _box_of(visible: NDArray[np.bool_]) -> Box:
    columns, rows = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def plain_background(image: Image.Image) -> tuple[int, int, int] | None:
    """The colour of an RGB picture's corners, if all four are the same to the eye."""
    right, below = image.width - 1, image.height - 1
    corners = np.array([image.getpixel(at) for at in ((0, 0), (right, 0), (0, below), (right, below))])
    if np.ptp(corners, axis=0).max() > _BACKGROUND_TOLERANCE_LEVELS:
        return None
    red, green, blue = (int(level) for level in corners[0])
    return red, green, blue
