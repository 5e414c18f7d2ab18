"""One screenshot to a square picture, or a portrait one: find the subject, cut around it, flatten, resize."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from lora_core.dataset import Flag
from lora_core.errors import ImageError
from lora_core.images.alpha import AlphaKind, AlphaReading, colour_of, cut_out_fault, flatten, read_alpha
from lora_core.images.decode import decode
from lora_core.images.subject import Box, Subject, plain_background, subject_of
from lora_core.recipe import Preprocess

_AIR = 0.04
_FRAMED_SHARE = 0.5


PORTRAITS = ((320, 768), (384, 640), (448, 576))
"""sd-scripts' buckets of 512 px that are taller than wide, narrowest first. Enlarged to 1024 px their sides are whole
steps of its buckets too, so that training crops nothing at either."""


def square_around(subject: Box, width: int, height: int, shapes: Sequence[tuple[int, int]] = ()) -> Box:
    """The square to cut out, in the picture's pixels; what lies outside the picture is padding.

    A subject that the lower edge cuts (portrait, upper body, cowboy shot) and that fills half the height was framed by
    its author: the whole height is kept, so that the composition stays what it was. Any other subject gets some air.
    The subject is centred sideways. Where an edge of the picture cuts it, the square ends there as well, so that no
    padding shows beneath a body that was cut off.

    Args:
        subject: bounding box of the subject.
        width: of the picture, pixels.
        height: of the picture, pixels.
        shapes: as (width, height), narrowest first: the first that holds the subject goes before the square.
    """
    framed = subject.bottom == height and subject.height / height >= _FRAMED_SHARE
    whole = subject.width == width and subject.height == height
    air = 0 if whole else 2 * round(_AIR * max(subject.width, subject.height))
    cut_left, cut_right = subject.left == 0, subject.right == width
    across = subject.width if cut_left or cut_right else subject.width + air
    along = height if framed else subject.height + (0 if subject.top == 0 or subject.bottom == height else air)
    side = max(across, along)
    wide = next((found for wide, tall in shapes if (found := round(side * wide / tall)) >= across), side)
    left = _place(subject.left, subject.right, wide, at_start=cut_left, at_end=cut_right)
    top = _place(subject.top, subject.bottom, side, at_start=subject.top == 0, at_end=subject.bottom == height)
    return Box(left, top, left + wide, top + side)


def _place(start: int, end: int, side: int, *, at_start: bool, at_end: bool) -> int:
    """Where a stretch of `side` begins: flush with the one edge that cuts the subject, else centred on the subject."""
    if at_start and not at_end:
        return start
    if at_end and not at_start:
        return end - side
    return (start + end - side) // 2


def _size_of(box: Box, size_px: int) -> tuple[int, int]:
    """A square's own size, or a portrait's of its area."""
    if box.width == box.height:
        return size_px, size_px
    shape = min(PORTRAITS, key=lambda shape: abs(shape[0] / shape[1] - box.width / box.height))
    return round(shape[0] * size_px / 512), round(shape[1] * size_px / 512)


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture, mode RGB or L, at another size of its shape, with one Lanczos resize; borders over go."""
    if image.size == size:
        return image
    if image.width * size[1] == image.height * size[0]:
        return image.resize(size, Image.Resampling.LANCZOS)
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


_ASKED: Mapping[str, AlphaKind] = {"straight": "straight", "premultiplied": "premultiplied"}
# What JPEG makes of a white background.
_SAME_COLOUR_LEVELS = 8


@dataclass(frozen=True)
class Square:
    """A square picture on one background, or a portrait one.

    Attributes:
        image: mode RGB, of `Preprocess.size` squared pixels.
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
    image, notes, flags = decoded.image, list(decoded.notes), list(decoded.flags)
    if max(image.size) < options.min_source_px:
        raise ImageError(
            f"{name}: {image.width}×{image.height} pixels, smaller than {options.min_source_px}; "
            "take a larger screenshot or lower preprocess.min_source_px"
        )
    if image.mode == "RGBA" and options.alpha == "ignore":
        image = image.convert("RGB")
        notes.append("its alpha is ignored, as the recipe says")
    subject = _subject(image, name)
    if subject.specks:
        notes.append(f"apart from the subject lie specks ({subject.specks} px), which do not count for the square")
    background = colour_of(options.background)
    if image.mode == "RGBA":
        if fault := cut_out_fault(np.asarray(image.getchannel("A"))):
            flags.append(Flag(code="no_cut_out", values=(fault,)))
    elif not _on(image, background):
        flags.append(Flag(code="own_background"))
    shapes = PORTRAITS if options.shape == "portrait" else ()
    box = square_around(subject.box, image.width, image.height, shapes)
    size = _size_of(box, options.size)
    cut = _cut(image, box, background)
    flat, alpha, note = _flat(cut, options)
    if box.width < size[0]:
        flags.append(Flag(code="enlarged", values=(str(box.width), str(size[0]))))
    mask = resized(cut.getchannel("A"), size) if cut.mode == "RGBA" else None
    return Square(resized(flat, size), mask, alpha, (*notes, note), tuple(flags))


# A face needs thousands of pixels; less than this is dirt.
_LEAST_SUBJECT_PX, _LEAST_SUBJECT_SHARE = 16, 0.0001


def _subject(image: Image.Image, name: str) -> Subject:
    """The subject of a picture.

    Raises:
        ImageError: there is none to speak of.
    """
    subject = subject_of(image)
    pixels = image.width * image.height
    if subject and subject.pixels > max(_LEAST_SUBJECT_PX, _LEAST_SUBJECT_SHARE * pixels):
        return subject
    seen = subject.pixels + subject.specks if subject else 0
    but = f" but for {seen} px" if seen else ""
    if image.mode != "RGBA":
        raise ImageError(f"{name}: of one colour{but}, nothing is on it; export it again")
    colours = np.asarray(image.convert("RGB"))
    if (colours != colours[0, 0]).any():
        raise ImageError(
            f"{name}: there are colours, but its alpha is 0 over {pixels - seen:,} of {pixels:,} pixels, so that "
            "nothing shows; export it again, or set preprocess.alpha = 'ignore'"
        )
    raise ImageError(f"{name}: wholly transparent{but}, nothing is on it; export it again")


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
    kind = (
        options.alpha if options.alpha in ("straight", "premultiplied") and reading.kind != "opaque" else reading.kind
    )
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
