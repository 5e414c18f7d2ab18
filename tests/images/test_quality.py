"""The blur figure, by hand and against real blurring."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lora_core.images.review import blur


def _ramp(width: int) -> Image.Image:
    """Black to white over so many steps between neighbours, the same in every row and turned for the columns."""
    levels = np.clip((np.arange(100) - 50) / width, 0, 1) * 252
    rows = np.tile(np.rint(levels).astype(np.uint8), (100, 1))
    return Image.fromarray(np.minimum(rows, 252))


def test_a_hard_edge_by_hand():
    # One difference of 252. Blurred over nine pixels it is 252/9 = 28 there: 252 − 28 is lost, 1/9 is left. Columns see
    # nothing at all, which counts as wholly blurred, so the picture is turned into a square of both.
    image = Image.new("L", (100, 100))
    ImageDraw.Draw(image).rectangle((30, 30, 69, 69), fill=252)
    assert blur(image) == pytest.approx(1 / 9, abs=1e-6)


def test_a_ramp_over_nine_pixels_by_hand():
    # Nine differences of 28. Blurred they are 28·(9 − |k|)/9 at k = −4 … 4 from its middle: 28·20/9 of 28·9 is lost.
    levels = np.asarray(_ramp(9)).astype(np.uint8)
    both = Image.fromarray(np.minimum(levels, levels.T))
    lost = 20 / 81
    assert blur(both) == pytest.approx(1 - lost, abs=0.02)


def test_a_picture_of_one_colour_has_nothing_sharp_in_it():
    assert blur(Image.new("RGB", (64, 64), "white")) == 1


def test_the_more_a_picture_is_blurred_the_higher_the_figure(straight):
    picture = straight.convert("RGB").resize((480, 480))
    ImageDraw.Draw(picture).ellipse((100, 100, 380, 380), fill="#203040")
    figures = [blur(picture.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4)]
    assert figures == sorted(figures)
    assert figures[0] < 0.3
    assert figures[2] > 0.65


def test_the_figure_does_not_depend_on_how_much_there_is_to_see():
    def picture(shapes: int) -> Image.Image:
        image = Image.new("L", (400, 400), 255)
        for number in range(shapes):
            ImageDraw.Draw(image).rectangle((20 + 60 * number, 20, 60 + 60 * number, 300), fill=0)
        return image.filter(ImageFilter.GaussianBlur(1))

    assert blur(picture(1)) == pytest.approx(blur(picture(6)), abs=0.02)
