"""The square keeps the framing and never cuts the subject; straight and premultiplied alpha come out the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lora_core.images.alpha import colour_of, flatten, read_alpha
from lora_core.images.pipeline import copy_size
from lora_core.images.square import PORTRAITS, square_around, square_picture
from lora_core.images.subject import Box, plain_background, subject_of
from lora_core.recipe import Preprocess
from lora_core.training.buckets import Placement, place


@given(st.data())
def test_the_square_contains_the_subject_and_is_square(data):
    width, height = data.draw(st.integers(1, 4000)), data.draw(st.integers(1, 4000))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    subject = Box(left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    box = square_around(subject, width, height)
    assert box.width == box.height
    assert box.left <= subject.left
    assert box.top <= subject.top
    assert box.right >= subject.right
    assert box.bottom >= subject.bottom


def test_an_upper_body_cut_by_the_lower_edge_keeps_the_whole_height():
    box = square_around(Box(700, 200, 1220, 1080), 1920, 1080)
    assert box == Box(420, 0, 1500, 1080)


def test_a_small_subject_at_the_lower_edge_fills_the_square_and_stays_at_the_edge():
    box = square_around(Box(1000, 1760, 1200, 2160), 3840, 2160)
    assert box.bottom == 2160
    assert box.height < 500


def test_a_free_subject_gets_air_on_every_side():
    assert square_around(Box(100, 100, 200, 200), 400, 400) == Box(96, 96, 204, 204)


def test_a_subject_wider_than_the_picture_is_high_is_padded_above():
    box = square_around(Box(200, 0, 1700, 1080), 1920, 1080)
    assert box.width >= 1500
    assert box.top < 0
    assert box.bottom > 1080


def test_a_whole_opaque_picture_is_padded_to_a_square():
    assert square_around(Box(0, 0, 1920, 1080), 1920, 1080) == Box(0, -420, 1920, 1500)


def test_the_subject_is_what_is_visible(straight):
    box = subject_of(straight).box
    assert box is not None
    assert (box.left, box.right, box.bottom) == (150, 331, 270)
    assert box.top == 40


def test_nothing_visible_is_no_subject():
    assert subject_of(Image.new("RGBA", (8, 8))) is None
    assert subject_of(Image.new("RGB", (8, 8), "#123456")) is None


def test_the_background_of_a_plain_picture_is_the_colour_of_its_corners():
    picture = Image.new("RGB", (8, 8), "#ff8001")
    picture.putpixel((4, 4), (0, 0, 0))
    assert plain_background(picture) == (255, 128, 1)
    picture.putpixel((7, 7), (0, 0, 0))
    assert plain_background(picture) is None


def test_on_a_plain_opaque_background_the_subject_is_what_differs():
    picture = np.full((100, 200, 3), 250, dtype=np.uint8)
    picture[20:100, 50:90] = 0
    assert subject_of(Image.fromarray(picture)).box == Box(50, 20, 90, 100)


def test_a_busy_opaque_picture_is_all_subject():
    picture = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    assert subject_of(Image.fromarray(picture)).box == Box(0, 0, 20, 10)


WHITE = (255, 255, 255)


def test_straight_and_premultiplied_are_told_apart(straight, premultiplied):
    assert read_alpha(np.asarray(straight)).kind == "straight"
    assert read_alpha(np.asarray(straight)).bright_share > 0.9
    assert read_alpha(np.asarray(premultiplied)).kind == "premultiplied"
    assert read_alpha(np.asarray(premultiplied)).bright_share == 0


def test_both_versions_of_one_character_agree_to_two_levels(straight, premultiplied, as_png):
    options = Preprocess(size=256)
    pictures = [
        np.asarray(square_picture(as_png(image), "x", options).image).astype(int) for image in (straight, premultiplied)
    ]
    assert np.abs(pictures[0] - pictures[1]).max() <= 2


def test_premultiplied_taken_for_straight_makes_a_halo_of_at_least_twenty_levels(premultiplied):
    rgba = np.asarray(premultiplied)
    edge = (rgba[..., 3] > 0) & (rgba[..., 3] < 255)
    right = np.asarray(flatten(rgba, "premultiplied", WHITE))[edge].astype(int)
    wrong = np.asarray(flatten(rgba, "straight", WHITE))[edge].astype(int)
    assert (right - wrong).max() >= 20
    assert (right - wrong).min() >= 0


def test_the_recipe_can_overrule_the_detection(premultiplied, as_png):
    detected = square_picture(as_png(premultiplied), "x", Preprocess(size=128))
    forced = square_picture(as_png(premultiplied), "x", Preprocess(size=128, alpha="straight"))
    assert detected.image.tobytes() != forced.image.tobytes()
    assert any("as the recipe says" in note for note in forced.notes)


@pytest.mark.parametrize(
    ("kind", "pixel", "expected"),
    [
        ("straight", (200, 100, 0, 128), (227, 177, 127)),  # c·a + 255·(1 − a), a = 128/255
        ("premultiplied", (100, 50, 0, 128), (227, 177, 127)),
        ("straight", (10, 20, 30, 0), (255, 255, 255)),
        ("premultiplied", (10, 20, 30, 0), (255, 255, 255)),
        ("straight", (10, 20, 30, 255), (10, 20, 30)),
    ],
)
def test_flattening_agrees_with_sums_by_hand(kind, pixel, expected):
    assert flatten(np.array([[pixel]], dtype=np.uint8), kind, WHITE).getpixel((0, 0)) == expected


def test_no_half_transparent_pixel_counts_as_straight_and_no_transparent_one_as_opaque():
    hard = np.zeros((2, 2, 4), dtype=np.uint8)
    hard[0] = 255
    assert read_alpha(hard).kind == "straight"
    assert read_alpha(np.full((2, 2, 4), 255, dtype=np.uint8)).kind == "opaque"


def test_a_colour_is_read_as_hexadecimal():
    assert colour_of("#ff8000") == (255, 128, 0)


@pytest.mark.parametrize(
    ("subject", "width"),
    [
        (Box(800, 100, 1100, 1080), 450),  # 300 wide and 78 of air, on 1080: 5:12
        (Box(700, 100, 1240, 1080), 648),  # 540: 3:5
        (Box(600, 100, 1320, 1080), 840),  # 720: 7:9
        (Box(500, 100, 1420, 1080), 1080),  # 920: the square
    ],
)
def test_a_portrait_is_as_narrow_as_its_subject_allows(subject, width):
    box = square_around(subject, 1920, 1080, PORTRAITS)
    assert (box.top, box.bottom, box.width) == (0, 1080, width)
    assert box.left < subject.left
    assert box.right > subject.right


@pytest.mark.parametrize("size", [512, 1024])
def test_training_crops_nothing_of_a_portrait(size, as_png):
    for width, shape in ((200, (320, 768)), (500, (384, 640)), (700, (448, 576)), (1000, (512, 512))):
        tall = Image.new("RGBA", (1920, 1080))
        tall.paste((200, 80, 80, 255), (960 - width // 2, 60, 960 + width // 2, 1080))
        picture = square_picture(as_png(tall), "tall", Preprocess(size=1024, shape="portrait"))
        assert picture.image.size == (shape[0] * 2, shape[1] * 2)
        assert picture.mask.size == picture.image.size
        assert place(picture.image.size, size) == Placement(
            (shape[0] * size // 512, shape[1] * size // 512), (shape[0] * size // 512, shape[1] * size // 512)
        )
        copy = copy_size(picture.image.size, 384)
        assert place(copy, 384).bucket == copy
        assert 0.93 < (copy[0] / copy[1]) / (shape[0] / shape[1]) < 1.08
