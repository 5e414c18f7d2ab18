"""One resize."""

from PIL import Image


def resized(image: Image.Image, size_px: int) -> Image.Image:
    """A square picture at another size, with one Lanczos resize.

    Args:
        image: mode RGB or L, square.
        size_px: side of the result.
    """
    if image.size == (size_px, size_px):
        return image
    return image.resize((size_px, size_px), Image.Resampling.LANCZOS)
