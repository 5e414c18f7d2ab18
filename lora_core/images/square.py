"""One screenshot's journey: decode, find the subject, cut the square, flatten, resize."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from lora_core.errors import ImageError
from lora_core.images.alpha import AlphaKind, AlphaReading, colour_of, flatten, read_alpha
from lora_core.images.decode import decode
from lora_core.images.frame import Box, plain_background, square_around, subject_of
from lora_core.images.resize import resized
from lora_core.recipe import Preprocess

# What JPEG makes of a white background.
_SAME_COLOUR_LEVELS = 8
_OWN_BACKGROUND = "no transparency: its own background stays; export with a transparent one"


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
    flags: tuple[str, ...]


def square_picture(data: bytes, name: str, options: Preprocess) -> Square:
    """One screenshot as a square picture.

    Args:
        data: the file's bytes.
        name: how messages call it.
        options: size, transparency, background, smallest source.

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
    flags = [_OWN_BACKGROUND] if image.mode == "RGB" and not _on(image, background) else []
    box = square_around(subject, image.width, image.height)
    cut = _cut(image, box, background)
    flat, alpha, note = _flat(cut, options)
    if box.width < options.size:
        flags.append(f"enlarged from {box.width} to {options.size} px: take larger screenshots")
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
