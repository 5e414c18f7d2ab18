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
    assert (found.character, found.white, found.solid) == (True, True, True)


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
    assert shown(somebody, None) == Shown(character=True, white=True, solid=True)
    assert not shown({**somebody, "realistic": 0.2}, None).solid


def test_the_gate_asks_for_the_look_in_95_of_100_pictures_and_reports_the_rest() -> None:
    flat, solid = (Shown(character=True, white=False, solid=look) for look in (False, True))
    passed, missed = gate([solid] * 95 + [flat] * 5), gate([solid] * 94 + [flat] * 6)
    assert (passed.look, passed.passed) == (pytest.approx(0.95), True)
    assert (missed.look, missed.passed) == (pytest.approx(0.94), False)
    assert (passed.character, passed.white, passed.together) == (1.0, 0.0, 0.0)
    assert gate([solid, Shown(character=True, white=True, solid=True)]).together == pytest.approx(0.5)


def test_a_gate_without_a_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="no picture"):
        gate([])


def test_gate_prompts_are_different_fixed_and_ask_for_many_people() -> None:
    found = prompts(200)
    assert len(set(found)) == 200
    assert prompts(50) == found[:50]
    assert {tag for prompt in found for tag in tags_of_prompt(prompt)} <= set(VOCABULARY)
    hair = [tag for prompt in found for tag in tags_of_prompt(prompt) if tag.endswith("_hair")]
    assert hair.count("black_hair") < 60
    assert not any("realistic" in prompt for prompt in found)
