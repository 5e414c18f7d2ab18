"""From a file's bytes to an upright 8-bit sRGB picture, or one clear reason why not."""

import io
import threading
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from lora_core.errors import ImageError

# What 3D creators, browsers and editors write. The rest (PSD, EPS, ICO …) stays closed: fewer decoders to attack.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
LARGEST_PIXELS = 80_000_000

_COLOUR_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_open_lock = threading.Lock()


@dataclass(frozen=True)
class Decoded:
    """A picture ready for framing.

    Attributes:
        image: mode RGB or RGBA, 8 bits a channel, upright, sRGB.
        notes: what was noticed or decided on the way.
    """

    image: Image.Image
    notes: tuple[str, ...]


def size_of(data: bytes, name: str) -> tuple[int, int]:
    """Width and height in pixels, from the header alone.

    Raises:
        ImageError: not a picture, or too large to be decoded.
    """
    with _opened(data, name) as image:
        return image.size


def decode(data: bytes, name: str) -> Decoded:
    """Decode one picture.

    The order: size check, first frame, EXIF rotation, 16 bits to 8, ICC profile to sRGB, RGB or RGBA.

    Args:
        data: the file's bytes.
        name: how messages call the file.

    Raises:
        ImageError: empty, not a picture, truncated, too large, or of a kind that has no colours to keep.
    """
    notes: list[str] = []
    with _opened(data, name) as image:
        if getattr(image, "n_frames", 1) > 1:
            notes.append(f"animated, {image.n_frames} frames: the first one is used")  # type: ignore[attr-defined]
        if image.mode == "F":
            raise ImageError(f"{name}: floating-point pixels (mode F); save it as an 8- or 16-bit PNG")
        deep = "16" in str(image.tile[0].args) if isinstance(image, ImageFile.ImageFile) and image.tile else False
        try:
            image.load()
        except Exception as error:  # decoders raise whatever a damaged file leads them to
            raise ImageError(f"{name}: damaged or incomplete ({_short(error)}); export it again") from error
        upright = _turned(image, notes)
        shallow = _eight_bits(upright)
        if deep or shallow is not upright:
            notes.append("16 bits a channel reduced to 8")
        return Decoded(image=_plain(_in_srgb(shallow, notes)), notes=tuple(notes))


def _opened(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageError(f"{name}: an empty file (0 bytes); export it again")
    try:
        # Pillow's own bomb check warns between its limit and twice that; ours below is stricter and says more.
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: more than {LARGEST_PIXELS // 10**6} million pixels; make it smaller") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture, whatever its name says; allowed: {', '.join(FORMATS)}") from None
    except Exception as error:  # headers of damaged files lead decoders anywhere
        raise ImageError(f"{name}: not a readable picture ({_short(error)}); export it again") from error
    width, height = image.size
    if width * height > LARGEST_PIXELS:
        image.close()
        raise ImageError(
            f"{name}: {width}×{height} pixels, more than {LARGEST_PIXELS // 10**6} million; make it smaller"
        )
    return image


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]


def _turned(image: Image.Image, notes: list[str]) -> Image.Image:
    """Upright by its EXIF orientation."""
    try:
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
    """RGBA where anything may be transparent, else RGB."""
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
