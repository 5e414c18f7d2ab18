"""Alpha that is no cut-out is told with its figure, and a cut-out never is, wherever the subject stands."""

import io
import random

import numpy as np
import pytest
from numpy.typing import NDArray
from odd_inputs import encoded, figure
from PIL import Image, ImageDraw

from lora_core.errors import ImageError
from lora_core.images.alpha import cut_out_fault
from lora_core.images.square import square_picture
from lora_core.images.subject import Box, subject_of
from lora_core.recipe import Preprocess

CASES = 1500
OPTIONS = Preprocess(size=64, min_source_px=16)


def _drawn(chance: random.Random) -> NDArray[np.uint8]:
    """A head and a body that the lower edge cuts, somewhere in a picture, with soft edges; shape (H, W)."""
    width, height = chance.randint(60, 140), chance.randint(60, 140)
    big = Image.new("L", (4 * width, 4 * height))
    draw = ImageDraw.Draw(big)
    wide, centre = chance.uniform(0.15, 0.4) * 4 * width, chance.uniform(0.35, 0.65) * 4 * width
    top, neck = chance.uniform(0.05, 0.3) * 4 * height, chance.uniform(0.5, 0.7) * 4 * height
    draw.ellipse((centre - wide / 2, top, centre + wide / 2, neck), fill=255)
    draw.rectangle((centre - wide * 0.7, neck - 20, centre + wide * 0.7, 4 * height), fill=255)
    return np.asarray(big.resize((width, height), Image.Resampling.BOX))


def _masks() -> list[tuple[int, NDArray[np.uint8]]]:
    chance = random.Random(1)
    return [(number, _drawn(chance)) for number in range(CASES)]


def test_a_cut_out_is_never_called_something_else():
    assert [(number, fault) for number, alpha in _masks() if (fault := cut_out_fault(alpha))] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda alpha, chance: alpha // 2, "half-transparent"),
        (lambda alpha, chance: np.full_like(alpha, chance.randint(5, 249)), "half-transparent"),
        (lambda alpha, chance: np.maximum(alpha, chance.randint(250, 254)), "none of it is transparent"),
        (lambda alpha, chance: 255 - alpha, "inverted"),
        (lambda alpha, chance: np.where(np.arange(alpha.shape[1]) % 2, alpha, 0).astype(np.uint8), "torn"),
        (lambda alpha, chance: np.zeros_like(alpha), "all of it is transparent"),
    ],
    ids=("half of it", "one level", "nearly opaque", "inverted", "torn", "zero"),
)
def test_what_is_no_cut_out_is_told_with_its_figure(change, says):
    chance = random.Random(2)
    missed = []
    for number, alpha in _masks()[:300]:
        fault = cut_out_fault(change(alpha, chance))
        if says not in fault:
            missed.append((number, fault))
    assert missed == []


def test_stray_pixels_do_not_move_the_box_around_the_subject():
    chance = random.Random(3)
    for number, alpha in _masks()[:200]:
        picture = np.zeros((*alpha.shape, 4), dtype=np.uint8)
        picture[..., 3] = alpha
        whole = subject_of(Image.fromarray(picture))
        for _ in range(chance.randint(1, 3)):
            row = chance.randrange(alpha.shape[0])
            column = chance.choice((0, alpha.shape[1] - 1))
            if not alpha[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].any():
                picture[row, column, 3] = 255
        found = subject_of(Image.fromarray(picture))
        assert found.box == whole.box, number
        assert found.pixels == whole.pixels


def test_every_alpha_whatsoever_gives_a_picture_or_one_line():
    chance = np.random.default_rng(4)
    lines = []
    for number in range(400):
        rgba = chance.integers(0, 256, (20 + number % 30, 20, 4), dtype=np.uint8)
        rgba[..., 3] = [
            chance.integers(0, 256, rgba.shape[:2]),
            chance.integers(0, 2, rgba.shape[:2]) * 255,
            np.full(rgba.shape[:2], number % 256),
            (chance.random(rgba.shape[:2]) > 0.99) * 255,
        ][number % 4]
        try:
            square = square_picture(encoded(Image.fromarray(rgba)), "shot.png", OPTIONS)
            assert square.image.size == (64, 64)
        except ImageError as error:
            lines.append(str(error))
    assert lines
    assert all(line.startswith("shot.png: ") and "\n" not in line for line in lines)


def test_under_ignore_the_colours_are_taken_as_if_there_were_no_alpha():
    rgba = np.asarray(figure(5)).copy()
    rgba[..., :3] = np.where(rgba[..., 3:] > 0, rgba[..., :3], 255)
    rgba[..., 3] = 0
    data = encoded(Image.fromarray(rgba))
    with pytest.raises(ImageError, match=r"preprocess\.alpha = 'ignore'"):
        square_picture(data, "x", Preprocess(size=64))
    ignoring = square_picture(data, "x", Preprocess(size=64, alpha="ignore"))
    plain = square_picture(encoded(Image.fromarray(rgba[..., :3])), "x", Preprocess(size=64))
    assert ignoring.image.tobytes() == plain.image.tobytes()
    assert ignoring.mask is None
    assert "its alpha is ignored, as the recipe says" in ignoring.notes


def test_a_stray_pixel_in_a_corner_leaves_the_square_as_it_was():
    image = figure(6)
    without = square_picture(encoded(image), "x", Preprocess(size=128)).image
    image.putpixel((0, 0), (255, 0, 0, 255))
    assert square_picture(encoded(image), "x", Preprocess(size=128)).image.tobytes() == without.tobytes()


def test_a_piece_that_is_no_speck_belongs_to_the_subject():
    picture = np.full((200, 300, 3), 255, dtype=np.uint8)
    picture[50:200, 100:180] = 40
    picture[10:20, 250:262] = 90  # 120 pixels: an ear ring, a butterfly
    assert subject_of(Image.fromarray(picture)).box == Box(100, 10, 262, 200)


def test_a_picture_is_decoded_whatever_its_alpha_is(as_png):
    grey = Image.new("LA", (300, 300), (90, 128))
    fault = square_picture(as_png(grey), "x", Preprocess(size=64)).flags[0]
    assert fault.code == "no_cut_out"
    assert Image.open(io.BytesIO(as_png(grey))).mode == "LA"
