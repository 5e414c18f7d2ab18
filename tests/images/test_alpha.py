"""Straight and premultiplied are told apart, and come out the same."""

import numpy as np
import pytest

from lora_core.images.alpha import colour_of, flatten, read_alpha
from lora_core.images.square import square_picture
from lora_core.recipe import Preprocess

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
