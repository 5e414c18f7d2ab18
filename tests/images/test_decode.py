"""Every odd kind of file either becomes a plain picture or says in one line why not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from lora_core.errors import ImageError
from lora_core.images.decode import decode, header_of


def _bytes(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _drawn(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def _transparent(mode: str) -> Image.Image:
    """With one pixel that is not opaque."""
    image = _drawn("RGBA")
    image.putpixel((3, 3), (9, 9, 9, 0))
    return image.convert(mode)


def _png(width: int, height: int, pixels: bytes, *, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG by hand: kinds that Pillow does not write, and headers that promise more than there is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"this is a text\n" * 20, "not a picture"),
        (_bytes(_drawn())[:200], "damaged or incomplete"),
        (_bytes(_drawn(), "JPEG")[:300], "damaged or incomplete|not a readable picture"),
        (_png(20_000, 20_000, b""), "million pixels"),
        (_png(10_000, 10_000, b""), "10000×10000 pixels"),
        (b"\x89PNG\r\n\x1a\n", "not a"),
        (_bytes(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF"), "floating-point"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_it(data, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        decode(data, "my shot.png")
    assert str(caught.value).startswith("my shot.png: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (_bytes(_drawn("L")), "RGB"),
        (_bytes(_drawn("1")), "RGB"),
        (_bytes(_drawn("LA")), "RGB"),
        (_bytes(_transparent("LA")), "RGBA"),
        (_bytes(_drawn("P")), "RGB"),
        (_bytes(_drawn("P"), transparency=0), "RGBA"),
        (_bytes(_drawn("CMYK"), "JPEG"), "RGB"),
        (_bytes(_drawn("RGB"), "BMP"), "RGB"),
        (_bytes(_drawn("RGB"), "WEBP", lossless=True), "RGB"),
        (_bytes(_drawn("RGBA"), "TIFF"), "RGB"),
        (_bytes(_transparent("RGBA"), "TIFF"), "RGBA"),
        (_bytes(_transparent("RGBA"), "AVIF"), "RGBA"),
    ],
)
def test_every_kind_of_pixel_becomes_rgb_or_rgba_where_something_is_transparent(data, mode):
    decoded = decode(data, "x")
    assert decoded.image.mode == mode
    assert decoded.image.size == (40, 30)


def test_sixteen_bit_grey_keeps_its_brightness():
    image = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16))
    decoded = decode(_bytes(image), "x")
    assert np.asarray(decoded.image)[0, :, 0].tolist() == [0, 128, 255]
    assert "16 bits a channel reduced to 8" in decoded.notes


@pytest.mark.parametrize(("colour", "mode"), [(2, "RGB"), (6, "RGBA")])
def test_sixteen_bit_colour_keeps_its_colours(colour, mode):
    channels = len(mode)
    row = b"\0" + struct.pack(f">{channels}H", *(0x1234, 0x8080, 0xFFFF, 0x4040)[:channels])
    decoded = decode(_png(1, 1, row, bits=16, colour=colour), "x")
    assert decoded.image.getpixel((0, 0)) == (0x12, 0x80, 0xFF, 0x40)[:channels]
    assert "16 bits a channel reduced to 8" in decoded.notes


def test_an_animation_gives_its_first_frame_and_a_note():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("#ff0000", "#00ff00")]
    decoded = decode(_bytes(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True), "x")
    assert decoded.image.getpixel((4, 4))[:3] == (255, 0, 0)
    assert decoded.notes == ("more than one picture in it: the first one is used",)


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise
    decoded = decode(_bytes(_drawn(), "JPEG", exif=exif), "x")
    assert decoded.image.size == (30, 40)
    assert "rotated as its EXIF data says" in decoded.notes


def test_another_colour_space_is_converted_to_srgb():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    data = bytearray(lab.tobytes())
    # The red and green primaries change places: a space in which pure red means green.
    table = {
        data[at : at + 4].decode(): at + 4 for at in range(132, 132 + 12 * struct.unpack(">I", data[128:132])[0], 12)
    }
    red, green = table["rXYZ"], table["gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    profile = bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")
    decoded = decode(_bytes(Image.new("RGB", (4, 4), "#ff0000"), icc_profile=profile), "x")
    red_level, green_level, _ = decoded.image.getpixel((0, 0))
    assert green_level > 250
    assert red_level < 5
    assert "to sRGB" in decoded.notes[0]


def test_an_unreadable_profile_is_noted_and_ignored():
    decoded = decode(_bytes(_drawn(), icc_profile=b"nonsense"), "x")
    assert decoded.image.tobytes() == _drawn().tobytes()
    assert "cannot be read" in decoded.notes[0]


def test_the_size_comes_from_the_header_alone(tmp_path):
    (tmp_path / "x").write_bytes(_bytes(_drawn())[:60])
    assert header_of(tmp_path / "x", "x") == (40, 30, "PNG")
