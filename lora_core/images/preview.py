"""Small copies of pictures, for pages: JPEG on white, as bytes or in an address."""

import base64
from io import BytesIO

from PIL import Image


def small_jpeg(image: Image.Image, most_px: tuple[int, int], quality: int = 80) -> bytes:
    """A picture on white, no wider and no higher than `most_px`."""
    small = image.convert("RGBA")
    small.thumbnail(most_px, Image.Resampling.LANCZOS)
    paper = Image.new("RGB", small.size, "white")
    paper.paste(small, mask=small.getchannel("A"))
    data = BytesIO()
    paper.save(data, "JPEG", quality=quality)
    return data.getvalue()


def data_uri(data: bytes, kind: str = "image/jpeg") -> str:
    """A `data:` address that holds a file of a media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
