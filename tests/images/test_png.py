"""PNGs of our own: whatever is written is read back."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lora_core.images.png import png_bytes


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1), st.sampled_from([1, 64, 255]))
def test_what_is_written_is_read_back(width, height, seed, step):
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8) // step * step
    read = Image.open(io.BytesIO(png_bytes(Image.fromarray(levels))), formats=("PNG",))
    assert read.mode == "RGB"
    assert np.array_equal(np.asarray(read), levels)


def test_equal_pixels_have_equal_bytes_whatever_a_file_said_besides():
    picture = Image.new("RGB", (20, 10), "#336699")
    with_extras = picture.copy()
    with_extras.info = {"dpi": (300, 300), "icc_profile": b"x", "Author": "somebody"}
    assert png_bytes(picture) == png_bytes(with_extras)


def test_the_file_holds_header_pixels_and_end_and_nothing_else():
    data = png_bytes(Image.new("RGB", (3, 2)))
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert [data.count(kind) for kind in (b"IHDR", b"IDAT", b"IEND")] == [1, 1, 1]


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match="RGBA pictures are not written"):
        png_bytes(Image.new("RGBA", (1, 1)))
