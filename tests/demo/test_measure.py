"""The figures of the model cards, on cases that can be checked by hand."""

import numpy as np
import pytest
import torch

from demo.train.export import rounded
from demo.train.measure import FAMILIES, followed, likeliest
from demo.train.tagger import LABELS, reading_figures
from demo.world import Character, Scene
from demo.world.tags import picture_tags


def logits_of(*pictures: tuple[str, ...]) -> torch.Tensor:
    """A tagger that is sure: 4 for each tag that a picture has, -4 for the others."""
    return torch.tensor([[4.0 if label in tags else -4.0 for label in LABELS] for tags in pictures])


WINKING = picture_tags(
    Character(hair_color="red", hair_style="twin_braids", eye_color="green", ears="cat"),
    Scene(composition="portrait", expression="wink", background="night"),
    "solid",
)


def test_a_sample_that_shows_all_that_was_asked_is_right_in_every_family() -> None:
    shares = followed(logits_of(WINKING), [WINKING])
    assert shares == dict.fromkeys(FAMILIES, 1.0)


def test_one_wrong_trait_counts_in_its_own_family_alone() -> None:
    drawn = tuple("blue_hair" if tag == "red_hair" else tag for tag in WINKING)
    shares = followed(logits_of(drawn, WINKING), [WINKING, WINKING])
    assert shares == pytest.approx({family: 0.5 if family == "hair colour" else 1.0 for family in FAMILIES})


def test_closed_eyes_are_not_counted_for_the_colour_of_eyes() -> None:
    asleep = tuple(tag for tag in WINKING if tag != "green_eyes")
    shares = followed(logits_of(WINKING, WINKING), [asleep, WINKING])
    assert shares["eye colour"] == pytest.approx(1.0)


def test_twintails_are_told_from_long_hair_worn_open() -> None:
    styles = FAMILIES["hair style"]
    assert [styles[k] for k in likeliest(styles, logits_of(("long_hair",), ("long_hair", "twintails")))] == [
        ("long_hair",),
        ("long_hair", "twintails"),
    ]


def test_balanced_accuracy_counts_the_rare_as_much_as_the_frequent() -> None:
    truth = np.zeros((10, len(LABELS)), np.float32)
    truth[0, LABELS.index("smile")] = 1
    # Nothing is ever found: nine of ten answers are right, and yet it is worth no more than a coin.
    figures = reading_figures(np.full_like(truth, 0.1), truth)
    assert figures["balanced"] == pytest.approx(0.5)
    assert figures["calibration error"] == pytest.approx(0.0, abs=1e-6)


def test_a_tagger_that_is_sure_and_wrong_half_the_time_is_badly_calibrated() -> None:
    truth = np.zeros((10, len(LABELS)), np.float32)
    truth[:5, LABELS.index("smile")] = 1
    assert reading_figures(np.full_like(truth, 0.95), truth)["calibration error"] == pytest.approx(0.45)


def test_shipped_weights_keep_five_bits_of_mantissa() -> None:
    assert rounded(torch.tensor([1.0, 1 + 1 / 32, 1 + 1 / 128, -3.3, 0.0]), 5).tolist() == [
        1.0,
        1 + 1 / 32,
        1.0,
        -3.3125,
        0.0,
    ]
