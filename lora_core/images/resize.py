"""One resize, and the same bytes for the same picture."""

import io

from PIL import Image

# Fast rather than small: pictures are read back many times and never travel.
_PNG_LEVEL = 3


def resized(image: Image.Image, size_px: int) -> Image.Image:
    """A square picture at another size, with one Lanczos resize.

    Args:
        image: mode RGB, square.
        size_px: side of the result.
    """
    if image.size == (size_px, size_px):
        return image
    return image.resize((size_px, size_px), Image.Resampling.LANCZOS)


def png_bytes(image: Image.Image) -> bytes:
    """A PNG without any metadata, so that equal pixels have equal bytes."""
    bare = Image.frombytes(image.mode, image.size, image.tobytes())
    buffer = io.BytesIO()
    bare.save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()
