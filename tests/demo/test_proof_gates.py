"""The note's conditions: what counts as the style character on white, and when a stage has done its work."""

import pytest

from demo.proof.gates import Shown, gate, prompts, shown
from demo.world.character import CAST
from demo.world.tags import VOCABULARY
from lora_core.judging.evidence import tags_of_prompt

YUKI = CAST["yuki"]  # black, short, no ears
SEEN = {"black_hair": 0.9, "short_hair": 0.8, "white_background": 0.7, "realistic": 0.6}


def test_the_style_character_on_white_is_all_there() -> None:
    found = shown(SEEN, YUKI)
    assert (found.character, found.white, found.solid, found.all) == (True, True, True, True)


@pytest.mark.parametrize(
    "change",
    [
        {"blonde_hair": 0.95},
        {"black_hair": 0.4},
        {"twintails": 0.9},
        {"short_hair": 0.3, "long_hair": 0.6},
        {"cat_ears": 0.5},
        {"dark_skin": 0.8},
        {"hair_flower": 0.6},
    ],
)
def test_one_trait_of_somebody_else_is_another_character(change: dict[str, float]) -> None:
    assert not shown({**SEEN, **change}, YUKI).character


def test_hair_that_is_cut_off_so_that_no_style_is_read_speaks_against_nobody() -> None:
    assert shown({**SEEN, "short_hair": 0.3}, YUKI).character
    assert not shown({**SEEN, "short_hair": 0.3, "black_hair": 0.3}, YUKI).character


def test_eyes_do_not_count_for_they_may_be_closed_or_a_pixel() -> None:
    assert shown({**SEEN, "blue_eyes": 0.9}, YUKI).character


def test_where_the_look_is_nobodys_anybody_on_white_in_that_look_will_do() -> None:
    somebody = {"pink_hair": 0.9, "twintails": 0.9, "white_background": 0.7, "realistic": 0.6}
    assert shown(somebody, None).all
    assert not shown({**somebody, "realistic": 0.2}, None).all


def test_a_background_or_the_flat_look_alone_is_not_enough() -> None:
    assert not shown({**SEEN, "white_background": 0.4}, YUKI).all
    assert not shown({**SEEN, "realistic": 0.4}, YUKI).all


def test_a_gate_needs_95_of_100_pictures() -> None:
    right, wrong = Shown(character=True, white=True, solid=True), Shown(character=True, white=False, solid=True)
    passed, missed = gate([right] * 95 + [wrong] * 5), gate([right] * 94 + [wrong] * 6)
    assert (passed.share.mean, passed.passed) == (pytest.approx(0.95), True)
    assert (missed.share.mean, missed.passed) == (pytest.approx(0.94), False)
    assert (missed.character, missed.white, missed.solid) == pytest.approx((1.0, 0.94, 1.0))
    assert missed.share.low < 0.94 < missed.share.high


def test_a_gate_without_a_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sample"):
        gate([])


def test_gate_prompts_are_different_fixed_and_ask_for_many_people() -> None:
    found = prompts(200)
    assert len(set(found)) == 200
    assert prompts(50) == found[:50]
    assert {tag for prompt in found for tag in tags_of_prompt(prompt)} <= set(VOCABULARY)
    hair = [tag for prompt in found for tag in tags_of_prompt(prompt) if tag.endswith("_hair")]
    assert hair.count("black_hair") < 60
    assert not any("realistic" in prompt for prompt in found)
