"""A drawn character as a 3D creator would export it, and a store."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lora_core.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    folder = tmp_path / "screenshots"
    folder.mkdir()
    return folder


def _straight(width: int = 480, height: int = 270, hair: str = "#f4e2a0", shift: int = 0) -> Image.Image:
    """A head and a body that the lower edge cuts, soft edges, straight alpha."""
    scale = 4
    mask = Image.new("L", (width * scale, height * scale))
    draw = ImageDraw.Draw(mask)
    centre = (width // 2 + shift) * scale
    draw.ellipse((centre - 60 * scale, 40 * scale, centre + 60 * scale, 180 * scale), fill=255)
    draw.rectangle((centre - 90 * scale, 170 * scale, centre + 90 * scale, height * scale), fill=255)
    image = Image.new("RGBA", (width, height), hair)
    image.putalpha(mask.resize((width, height), Image.Resampling.BOX))
    return image


@pytest.fixture
def straight() -> Image.Image:
    return _straight()


def as_premultiplied(image: Image.Image) -> Image.Image:
    """The same picture as Honey Select 2 writes it: colour × alpha over black."""
    rgba = np.asarray(image).astype(np.float64)
    rgba[..., :3] *= rgba[..., 3:] / 255
    return Image.fromarray(np.rint(rgba).astype(np.uint8))


@pytest.fixture
def premultiplied(straight: Image.Image) -> Image.Image:
    return as_premultiplied(straight)


@pytest.fixture
def shot(screenshots: Path):  # type: ignore[no-untyped-def]
    """Writes a screenshot NAME into the folder; `shift` makes each a picture of its own."""

    def write(name: str, shift: int = 0) -> Path:
        path = screenshots / name
        path.parent.mkdir(parents=True, exist_ok=True)
        as_premultiplied(_straight(shift=shift)).save(path)
        return path

    return write


@pytest.fixture
def as_png():  # type: ignore[no-untyped-def]
    def encode(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    return encode
