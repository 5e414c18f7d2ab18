"""A square around the subject that never cuts it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

# Fainter pixels are specks that renderers leave behind, not the subject.
_FAINTEST_ALPHA = 4
_BACKGROUND_TOLERANCE_LEVELS = 8
_AIR = 0.04
_FRAMED_SHARE = 0.5


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


def subject_of(image: Image.Image) -> Box | None:
    """Where the subject is: what is not transparent, or what differs from a plain background.

    A picture without transparency whose four corners differ has no plain background: all of it is the subject.

    Args:
        image: mode RGB, or RGBA with something transparent in it.

    Returns:
        None if every pixel is transparent, or all are of one colour.
    """
    if image.mode == "RGBA":
        visible = image.getchannel("A").point(_above(_FAINTEST_ALPHA)).getbbox()
        return Box(*visible) if visible else None
    colour = plain_background(image)
    if colour is not None:
        apart = ImageChops.difference(image, Image.new("RGB", image.size, colour))
        found = apart.point(_above(_BACKGROUND_TOLERANCE_LEVELS) * 3).getbbox()
        return Box(*found) if found else None
    return Box(0, 0, image.width, image.height)


def plain_background(image: Image.Image) -> tuple[int, int, int] | None:
    """The colour of an RGB picture's corners, if all four are the same to the eye."""
    right, below = image.width - 1, image.height - 1
    corners = np.array([image.getpixel(at) for at in ((0, 0), (right, 0), (0, below), (right, below))])
    if np.ptp(corners, axis=0).max() > _BACKGROUND_TOLERANCE_LEVELS:
        return None
    red, green, blue = (int(level) for level in corners[0])
    return red, green, blue


def _above(level: int) -> list[int]:
    """A table for `Image.point`: 255 for what is above the level, 0 for the rest."""
    return [0] * (level + 1) + [255] * (255 - level)


def square_around(subject: Box, width: int, height: int) -> Box:
    """The square to cut out, in the picture's pixels; what lies outside the picture is padding.

    A subject that the lower edge cuts (portrait, upper body, cowboy shot) and that fills half the height was framed by
    its author: the whole height is kept, so that the composition stays what it was. Any other subject gets some air.
    The subject is centred sideways. Where an edge of the picture cuts it, the square ends there as well, so that no
    padding shows beneath a body that was cut off.

    Args:
        subject: bounding box of the subject.
        width: of the picture, pixels.
        height: of the picture, pixels.
    """
    framed = subject.bottom == height and subject.height / height >= _FRAMED_SHARE
    whole = subject.width == width and subject.height == height
    air = 0 if whole else 2 * round(_AIR * max(subject.width, subject.height))
    cut_left, cut_right = subject.left == 0, subject.right == width
    across = subject.width if cut_left or cut_right else subject.width + air
    along = height if framed else subject.height + (0 if subject.top == 0 or subject.bottom == height else air)
    side = max(across, along)
    left = _place(subject.left, subject.right, side, at_start=cut_left, at_end=cut_right)
    top = _place(subject.top, subject.bottom, side, at_start=subject.top == 0, at_end=subject.bottom == height)
    return Box(left, top, left + side, top + side)


def _place(start: int, end: int, side: int, *, at_start: bool, at_end: bool) -> int:
    """Where a stretch of `side` begins: flush with the one edge that cuts the subject, else centred on the subject."""
    if at_start and not at_end:
        return start
    if at_end and not at_start:
        return end - side
    return (start + end - side) // 2
