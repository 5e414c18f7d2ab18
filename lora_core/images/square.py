"""One screenshot to a square picture: find the subject, cut the square, flatten, resize."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from lora_core.dataset import Flag
from lora_core.errors import ImageError
from lora_core.images.decode import decode
from lora_core.recipe import Preprocess

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


def resized(image: Image.Image, size_px: int) -> Image.Image:
    """A square picture, mode RGB or L, at another size, with one Lanczos resize."""
    if image.size == (size_px, size_px):
        return image
    return image.resize((size_px, size_px), Image.Resampling.LANCZOS)


AlphaKind = Literal["opaque", "straight", "premultiplied"]

# Measured on drawn hair: straight blonde .996, straight dark .074, premultiplied 0.
_MOST_BRIGHT = 0.005
# Room for rounding in the creator's own shader.
_TOLERANCE_LEVELS = 2


@dataclass(frozen=True)
class AlphaReading:
    """How a picture stores transparency.

    Attributes:
        kind: what it is taken for.
        edge_pixels: pixels that are neither opaque nor transparent.
        bright_share: the share of those whose brightest channel exceeds their alpha; premultiplied files have none.
    """

    kind: AlphaKind
    edge_pixels: int
    bright_share: float


def read_alpha(rgba: NDArray[np.uint8]) -> AlphaReading:
    """Tell straight from premultiplied by the half-transparent pixels.

    A premultiplied colour can't be brighter than its alpha; a straight one can. Where no pixel is half-transparent both
    are the same picture, and it is called straight.

    Args:
        rgba: shape (H, W, 4).
    """
    alpha = np.ascontiguousarray(rgba[..., 3])
    if bool((alpha == 255).all()):
        return AlphaReading("opaque", 0, 0.0)
    pixels = rgba.reshape(-1, 4)[_edge(alpha)].astype(np.int16)
    if len(pixels) == 0:
        return AlphaReading("straight", 0, 0.0)
    share = float((pixels[:, :3].max(axis=1) > pixels[:, 3] + _TOLERANCE_LEVELS).mean())
    return AlphaReading("premultiplied" if share <= _MOST_BRIGHT else "straight", len(pixels), share)


def flatten(rgba: NDArray[np.uint8], kind: AlphaKind, background: tuple[int, int, int]) -> Image.Image:
    """The picture on a background; half-transparent pixels are computed in floating point and rounded once.

    Straight: c·a + b·(1 − a). Premultiplied: c + b·(1 − a) (Porter & Duff 1984, "over"). What is wholly transparent
    becomes the background, whatever colour a program left there.

    Args:
        rgba: shape (H, W, 4).
        kind: how `rgba` stores transparency.
        background: red, green, blue, 0 to 255.

    Returns:
        Mode RGB.
    """
    # A pixel's four bytes as one number: choosing between two pictures is then one pass, not four.
    packed = np.ascontiguousarray(rgba).view(np.uint32)[..., 0]
    alpha = np.ascontiguousarray(rgba[..., 3])
    behind = np.array([*background, 255], dtype=np.uint8)
    flat = packed.copy() if kind == "opaque" else np.where(alpha == 255, packed, behind.view(np.uint32)[0])
    if kind != "opaque":
        edge = _edge(alpha)
        pixels = rgba.reshape(-1, 4)[edge].astype(np.float32)
        colour, share = pixels[:, :3], pixels[:, 3:] / 255
        shown = (colour if kind == "premultiplied" else colour * share) + behind[:3] * (1 - share)
        flat.view(np.uint8).reshape(-1, 4)[edge, :3] = np.clip(np.rint(shown), 0, 255)
    height, width = alpha.shape
    return Image.frombytes("RGB", (width, height), flat.view(np.uint8).reshape(-1), "raw", "RGBX")


def _edge(alpha: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Places of half-transparent pixels in the flattened picture: 1 to 254, which is 0 to 253 once 1 is taken off."""
    return np.flatnonzero((alpha - np.uint8(1)) < 254)


def colour_of(text: str) -> tuple[int, int, int]:
    """`#rrggbb` as red, green, blue, 0 to 255."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


# What JPEG makes of a white background.
_SAME_COLOUR_LEVELS = 8


@dataclass(frozen=True)
class Square:
    """A square picture on one background.

    Attributes:
        image: mode RGB, `Preprocess.size` squared.
        mask: mode L, as large: how opaque the screenshot was; None: it has no transparency.
        alpha: how the file was found to store half-transparent pixels, whatever the recipe says; opaque: it has none.
        notes: what was decided on the way.
        flags: what a person should look at.
    """

    image: Image.Image
    mask: Image.Image | None
    alpha: AlphaKind
    notes: tuple[str, ...]
    flags: tuple[Flag, ...]


def square_picture(data: bytes, name: str, options: Preprocess) -> Square:
    """Make one screenshot's bytes a square picture; messages call it `name`.

    Raises:
        ImageError: it cannot be used.
    """
    decoded = decode(data, name)
    image = decoded.image
    if max(image.size) < options.min_source_px:
        raise ImageError(
            f"{name}: {image.width}×{image.height} pixels, smaller than {options.min_source_px}; "
            "take a larger screenshot or lower preprocess.min_source_px"
        )
    subject = subject_of(image)
    if subject is None:
        empty = "wholly transparent" if image.mode == "RGBA" else "of one colour"
        raise ImageError(f"{name}: {empty}, nothing is on it; export it again")
    background = colour_of(options.background)
    flags = [Flag(code="own_background")] if image.mode == "RGB" and not _on(image, background) else []
    box = square_around(subject, image.width, image.height)
    cut = _cut(image, box, background)
    flat, alpha, note = _flat(cut, options)
    if box.width < options.size:
        flags.append(Flag(code="enlarged", values=(str(box.width), str(options.size))))
    mask = resized(cut.getchannel("A"), options.size) if cut.mode == "RGBA" else None
    return Square(resized(flat, options.size), mask, alpha, (*decoded.notes, note), tuple(flags))


def _on(image: Image.Image, background: tuple[int, int, int]) -> bool:
    """Whether a picture without transparency is on that very background already."""
    colour = plain_background(image)
    return colour is not None and max(abs(a - b) for a, b in zip(colour, background, strict=True)) <= (
        _SAME_COLOUR_LEVELS
    )


def _cut(image: Image.Image, box: Box, background: tuple[int, int, int]) -> Image.Image:
    """The box out of the picture; beyond its edges the background, or nothing if the picture is transparent."""
    empty = (0, 0, 0, 0) if image.mode == "RGBA" else background
    canvas = Image.new(image.mode, (box.width, box.height), empty)
    canvas.paste(image, (-box.left, -box.top))
    return canvas


def _flat(image: Image.Image, options: Preprocess) -> tuple[Image.Image, AlphaKind, str]:
    """The picture on the background colour, how it stores transparency, and the note that says so."""
    if image.mode != "RGBA":
        return image, "opaque", "no transparency"
    rgba = np.asarray(image)
    reading = read_alpha(rgba)
    kind = reading.kind if options.alpha == "detect" or reading.kind == "opaque" else options.alpha
    stored = reading.kind if reading.edge_pixels else "opaque"
    return flatten(rgba, kind, colour_of(options.background)), stored, _alpha_note(reading, options)


def _alpha_note(reading: AlphaReading, options: Preprocess) -> str:
    if reading.kind == "opaque":
        return "no transparency"
    found = (
        f"{reading.bright_share:.3f} of {reading.edge_pixels} half-transparent pixels are brighter than their alpha"
        if reading.edge_pixels
        else "no half-transparent pixel"
    )
    if options.alpha != "detect":
        return f"transparency: {options.alpha}, as the recipe says ({found})"
    return f"transparency: {reading.kind} ({found})"
