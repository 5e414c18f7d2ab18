"""From a file's bytes to an upright 8-bit sRGB picture, or one clear reason why not."""

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from lora_core.dataset import Flag
from lora_core.errors import ImageError
from lora_core.images.kinds import HEAD_BYTES, how_to_read, kind_of, named, not_its_name, read_kinds
from lora_core.images.png_chunks import LARGEST_PROFILE_BYTES, colours_of_boxes, lean

LARGEST_PIXELS = 80_000_000
LARGEST_BYTES = 4 * LARGEST_PIXELS
"""What the largest picture takes with no compression at all."""
_COLOUR_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_EMPTY = "{name}: an empty file (0 bytes); export it again"
# Where an AVIF or HEIF file says what its colours are.
_BOXES_BYTES = 64 << 10
_PIXELS_OF_16_BITS = ("PNG", "TIFF")
_lock = threading.Lock()
# Texts never reach Pillow (see `lean`); what else it unpacks of a PNG is the colour profile, whose size was looked at.
PngImagePlugin.MAX_TEXT_CHUNK = LARGEST_PROFILE_BYTES


@dataclass(frozen=True)
class Decoded:
    """A picture ready for framing.

    Attributes:
        image: RGBA where anything is transparent, else RGB; 8 bits a channel, upright, sRGB.
        notes: what was noticed or decided on the way.
        flags: what a person should look at.
    """

    image: Image.Image
    notes: tuple[str, ...]
    flags: tuple[Flag, ...] = ()


class Header(NamedTuple):
    """What a file says of itself: width and height in pixels, one of `read_kinds`."""

    width: int
    height: int
    kind: str


def header_of(file: Path, name: str) -> Header:
    """A file's header, without reading or decoding the rest.

    Raises:
        ImageError: not a picture, or too large to be decoded.
        OSError: the file cannot be read.
    """
    check_bytes(file, name)
    with file.open("rb") as data, _opened(_Source.of(data, header_only=True), name) as image:
        # MPO: JPEGs in a row, as some cameras and consoles write them.
        return Header(*image.size, "JPEG" if image.format == "MPO" else str(image.format))


def decode(data: bytes, name: str) -> Decoded:
    """Decode one picture.

    The order: size check, first frame, EXIF rotation, 16 bits to 8, ICC profile to sRGB, RGB or RGBA.

    Args:
        data: the file's bytes.
        name: how messages call the file.

    Raises:
        ImageError: empty, not a picture, truncated, too large, or of a kind that has no colours to keep.
    """
    if not data:
        raise ImageError(_EMPTY.format(name=name))
    source = _Source.of(io.BytesIO(data))
    with _opened(source, name) as image:
        if image.mode == "F":
            raise ImageError(f"{name}: floating-point pixels (mode F); save it as an 8- or 16-bit PNG")
        notes = list(source.notes)
        deep = _is_deep(image)
        try:
            with _warnings_as("ignore"):
                several = getattr(image, "is_animated", False)
                if image.format == "TIFF":
                    image.getexif()  # which loading reads in any case, and warns of what is damaged in it
            if several:
                notes.append("more than one picture in it: the first one is used")
            image.load()
            upright = _turned(image, notes)
            shallow = _eight_bits(upright)
            if deep or shallow is not upright:
                notes.append("16 bits a channel reduced to 8")
            flags = (Flag(code="other_colours", values=(source.colours,)),) if source.colours else ()
            return Decoded(image=_plain(_in_srgb(shallow, notes)), notes=tuple(notes), flags=flags)
        except Exception as error:  # decoders raise whatever a damaged file leads them to
            raise ImageError(f"{name}: damaged or incomplete ({_short(error)}); export it again") from error


def check_bytes(file: Path, name: str) -> None:
    """Refuse a file that no picture of ours needs, before anything is read or copied.

    Raises:
        ImageError: it is empty, or too large.
        OSError: it is not there.
    """
    size = file.stat().st_size
    if not size:
        raise ImageError(_EMPTY.format(name=name))
    if size > LARGEST_BYTES:
        raise ImageError(
            f"{name}: {size // 10**6} MB, more than the {LARGEST_BYTES // 10**6} MB that the largest picture takes; "
            "is it one? Export it again, or make it smaller"
        )


class _Source(NamedTuple):
    """A file for the decoder: its kind by its first bytes, how its colours are meant if not as sRGB, notes."""

    data: BinaryIO
    kind: str
    colours: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: BinaryIO, *, header_only: bool = False) -> "_Source":
        """Read from the file's beginning."""
        kind = kind_of(data.read(HEAD_BYTES))
        data.seek(0)
        if kind == "PNG":
            read = lean(data, header_only=header_only)
            return cls(read.data, kind, read.colours, read.notes)
        if kind not in ("AVIF", "HEIF"):
            return cls(data, kind)
        colours = colours_of_boxes(data.read(_BOXES_BYTES))
        data.seek(0)
        return cls(data, kind, colours)


def _opened(source: _Source, name: str) -> Image.Image:
    try:
        # Pillow's own bomb check warns between its limit and twice that; ours below is stricter and says more.
        with _warnings_as("ignore"):
            image = Image.open(source.data, formats=read_kinds())
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: more than {LARGEST_PIXELS // 10**6} million pixels; make it smaller") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: {_no_picture(source.kind, name)}") from None
    except Exception as error:  # headers of damaged files lead decoders anywhere
        raise ImageError(f"{name}: not a readable picture ({_short(error)}); export it again") from error
    width, height = image.size
    if width * height > LARGEST_PIXELS:
        image.close()
        raise ImageError(
            f"{name}: {width}×{height} pixels, more than {LARGEST_PIXELS // 10**6} million; make it smaller"
        )
    return image


def _no_picture(kind: str, name: str) -> str:
    """Why no decoder takes a file of a kind, by its first bytes, and what to do."""
    if kind in read_kinds():
        return f"not a readable picture: a {named(kind)} file that is damaged; export it again"
    if kind:
        return f"{not_its_name(kind, PurePath(name)) or f'{named(kind)} is not read here'}; {how_to_read(kind)}"
    return f"not a picture, whatever its name says; allowed: {', '.join(map(named, read_kinds()))}"


def _is_deep(image: Image.Image) -> bool:
    """Whether a file's colours have 16 bits a channel; a BMP of 16 bits a pixel has five or six."""
    if image.format not in _PIXELS_OF_16_BITS or not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return False
    arguments = image.tile[0].args
    return ";16" in str(arguments if isinstance(arguments, str) else arguments[0] if arguments else "")


@contextlib.contextmanager
def _warnings_as(action: Literal["ignore", "error"]) -> Iterator[None]:
    """What Pillow would warn of in the block. Python's filters belong to all threads: one at a time changes them."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter(action)
        yield


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _turned(image: Image.Image, notes: list[str]) -> Image.Image:
    """Upright by its EXIF orientation."""
    try:
        with _warnings_as("error"):
            orientation = image.getexif().get(0x0112, 1)
        turned = ImageOps.exif_transpose(image) if orientation not in (None, 1) else image
    except Exception:  # damaged EXIF says nothing about the pixels
        notes.append("its EXIF data cannot be read: not rotated")
        return image
    if turned is not image:
        notes.append("rotated as its EXIF data says")
    return turned


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey pictures of 16 or 32 bits as 8 bits; Pillow reduces colour pictures itself."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        grey = Image.fromarray(((values + 128) // 257).astype(np.uint8), mode=None)
        grey.info = dict(image.info)
        grey.info.pop("transparency", None)  # its value is on the 16-bit scale
        return grey
    return image


def _in_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Colours of the embedded ICC profile as sRGB; an unreadable profile is noted and ignored."""
    data = image.info.get("icc_profile")
    if not data:
        if image.mode == "CMYK":
            notes.append("CMYK without a colour profile: its colours are approximate")
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        description = ImageCms.getProfileDescription(profile).strip()
        space = _COLOUR_SPACES.get(profile.profile.xcolor_space.strip(), "")
        if "srgb" in description.lower():
            return image
        if not space or (space == "CMYK") != (image.mode == "CMYK"):
            notes.append(f"its colour profile {description!r} is not for {image.mode} pictures: ignored")
            return image
        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        colours = _plain(image) if space == "RGB" else image
        converted = ImageCms.profileToProfile(
            colours.convert(space), profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("its colour profile cannot be read: taken as sRGB")
        return image
    if converted is None:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    notes.append(f"colours converted from {description!r} to sRGB")
    return converted


def _plain(image: Image.Image) -> Image.Image:
    """RGBA where anything is transparent, else RGB."""
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            return rgba
        image = rgba
    return image if image.mode == "RGB" else image.convert("RGB")
