"""Mutated files of every kind: a picture or one clean line, and soon."""

import random
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from odd_inputs import chunk, encoded, figure, sixteen_bits, swapped_profile
from PIL import Image

from lora_core.errors import ImageError
from lora_core.images.decode import decode
from lora_core.images.square import square_picture
from lora_core.recipe import Preprocess

ROUNDS = 350
MOST_SECONDS = 10
_SMALL = figure(3, (60, 40))


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a character"
    return exif.tobytes()


SEEDS = {
    "PNG": encoded(_SMALL, "PNG", icc_profile=swapped_profile(), exif=_exif()),
    "PNG, palette": encoded(_SMALL.quantize(16)),
    "PNG, 16 bits": sixteen_bits("RGBA"),
    "APNG": encoded(_SMALL, "PNG", save_all=True, append_images=[figure(4, (60, 40))]),
    "JPEG": encoded(_SMALL.convert("RGB"), "JPEG", exif=_exif(), icc_profile=swapped_profile()),
    "JPEG, CMYK": encoded(_SMALL.convert("CMYK"), "JPEG"),
    "JPEG, progressive": encoded(_SMALL.convert("RGB"), "JPEG", progressive=True),
    "WebP": encoded(_SMALL, "WEBP", exif=_exif()),
    "WebP, animated": encoded(_SMALL, "WEBP", save_all=True, append_images=[figure(4, (60, 40))]),
    "GIF": encoded(_SMALL.convert("RGB"), "GIF"),
    "GIF, animated": encoded(_SMALL, "GIF", save_all=True, append_images=[figure(4, (60, 40))]),
    "BMP": encoded(_SMALL.convert("RGB"), "BMP"),
    "TIFF, LZW": encoded(_SMALL, "TIFF", compression="tiff_lzw"),
    "TIFF, floats": encoded(Image.fromarray(np.ones((20, 20), dtype=np.float32)), "TIFF"),
    "AVIF": encoded(_SMALL, "AVIF"),
}


def _flip(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _early(data: bytearray, chance: random.Random) -> bytes:
    """Headers are where sizes and offsets are."""
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(min(64, len(data)))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(data)


def _cut(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def _spliced(data: bytearray, chance: random.Random) -> bytes:
    start, stop = sorted(chance.randrange(len(data)) for _ in range(2))
    at = chance.randrange(len(data))
    return bytes(data[:at] + data[start:stop] + data[at:])


def _checksums_mended(data: bytearray, chance: random.Random) -> bytes:
    """A PNG with a changed chunk whose checksum is right, so that the decoder reads on."""
    if not data.startswith(b"\x89PNG"):
        return _flip(data, chance)
    chunks, at = [], 8
    while at + 8 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((bytes(data[at + 4 : at + 8]), bytearray(data[at + 8 : at + 8 + length])))
        at += 12 + length
    _, body = chunks[chance.randrange(len(chunks))]
    if body:
        body[chance.randrange(len(body))] = chance.randrange(256)
    if chance.random() < 0.2:
        chance.shuffle(chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, bytes(body)) for kind, body in chunks)


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytes], ...] = (_flip, _early, _cut, _spliced, _checksums_mended)


@pytest.mark.parametrize("kind", SEEDS)
def test_a_mutated_file_is_a_picture_or_one_clean_line_and_soon(kind: str) -> None:
    chance = random.Random(kind)
    messages = []
    for number in range(ROUNDS):
        data = MUTATIONS[number % len(MUTATIONS)](bytearray(SEEDS[kind]), chance)
        began = time.process_time()  # no other process's load counts
        try:
            image = decode(data, "shot.png").image
            assert image.mode in ("RGB", "RGBA")
            if image.width * image.height < 100_000:
                square_picture(data, "shot.png", Preprocess(size=64, min_source_px=16))
        except ImageError as error:
            messages.append(str(error))
        assert time.process_time() - began < MOST_SECONDS
    assert messages
    assert all(message.startswith("shot.png: ") and "\n" not in message for message in messages)
