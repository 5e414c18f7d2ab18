"""Near duplicates by perceptual hash."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lora_core.images.review import BITS, Pair, near_duplicates, perceptual_hash
from lora_core.images.square import square_picture
from lora_core.recipe import Preprocess


def _pattern(shift: int) -> Image.Image:
    y, x = np.mgrid[0:256, 0:256]
    return Image.fromarray((((x + shift) ** 2 // 97 % 256 + y * y // 256) // 2).astype(np.uint8))


@pytest.mark.parametrize(
    ("shift", "expected"),  # str(imagehash.phash(picture, hash_size=16)) of ImageHash 4.3.2
    [
        (0, "8daa5b6c936c126db2cc326db1cc1b6cb6c95956b18e36b1b2882631f9ce5966"),
        (3, "8daa5366bbe41b24bbc43fe1b9c61b64bfc15066b9c63f91bdc12639b0c64046"),
    ],
)
def test_the_hash_is_imagehashs(shift, expected):
    assert perceptual_hash(_pattern(shift)) == expected


@pytest.fixture
def picture(straight, as_png):
    """A figure with something on it: of two equal halves half of the frequencies are nothing but noise."""
    image = square_picture(as_png(straight), "x", Preprocess(size=512)).image
    draw = ImageDraw.Draw(image)
    for k, colour in enumerate(("#303050", "#b03030", "#50a070", "#d8a060", "#202020")):
        draw.ellipse((90 + 70 * k, 120 + 53 * k * k % 211, 150 + 83 * k, 200 + 91 * k % 240), fill=colour)
    return image


def test_the_hash_hardly_changes_with_size_and_compression(picture):
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=70)
    smaller = picture.resize((200, 200), Image.Resampling.LANCZOS)
    hashes = [perceptual_hash(one) for one in (picture, smaller, Image.open(jpeg))]
    assert len(near_duplicates(hashes, 8)) == 3


def test_a_leaning_pose_is_no_near_duplicate(picture):
    leaning = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0.2, -50, 0, 1, 0), fillcolor="white")
    assert near_duplicates([perceptual_hash(picture), perceptual_hash(leaning)], 16) == []


def test_pairs_are_named_by_place_with_their_bits():
    hashes = ["00" * 32, "ff" * 32, "00" * 31 + "07"]
    assert near_duplicates(hashes, 3) == [Pair(0, 2, 3)]
    assert near_duplicates(hashes, 2) == []
    assert len(near_duplicates(hashes, BITS)) == 3
    assert near_duplicates([], 16) == near_duplicates(["00" * 32], 16) == []


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=12), st.integers(0, 256))
def test_pairs_are_those_that_counting_bits_one_by_one_finds(rows, most):
    numbers = [int.from_bytes(row, "big") for row in rows]
    expected = [
        Pair(i, j, (numbers[i] ^ numbers[j]).bit_count())
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if (numbers[i] ^ numbers[j]).bit_count() <= most
    ]
    assert near_duplicates([row.hex() for row in rows], most) == expected
