"""The grammar of scenes: what every redrawn picture is to show."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lora_core.captions.edit import Edited
from lora_core.recipe import COMPOSITIONS, Redraw, ShotPlan
from lora_core.redraw.scenes import Figure, Seen, compositions, people_of, quotas, scenes

_MOMO = Figure("momo", ("1girl", "solo"), ("pink_hair", "cat_ears"))


def test_a_prompt_names_trigger_people_framing_traits_clothes_pose_and_scene_in_this_order() -> None:
    options = Redraw(candidates=1, clothes=("red dress",), poses=("smile",), scenes=("forest",))
    (scene,) = scenes(_MOMO, ShotPlan(close_up=0, portrait=0, upper_body=1, cowboy_shot=0), options)
    assert scene.prompt == "momo, 1girl, solo, upper body, pink hair, cat ears, red dress, smile, forest"


def test_an_empty_list_leaves_no_empty_part_behind_and_nothing_is_named_twice() -> None:
    options = Redraw(candidates=1, clothes=(), poses=("smile, solo",), scenes=("forest",))
    (scene,) = scenes(_MOMO, ShotPlan(close_up=1, portrait=0, upper_body=0, cowboy_shot=0), options)
    assert scene.prompt == "momo, 1girl, solo, close-up, pink hair, cat ears, smile, forest"


def test_a_character_with_an_outfit_of_its_own_wears_nothing_else() -> None:
    dressed = Figure("momo", ("1girl",), ("pink_hair", "blue_dress"), has_outfit=True)
    assert all(scene.clothes == "" for scene in scenes(dressed, ShotPlan(), Redraw(candidates=20)))


@given(few=st.integers(1, 40), more=st.integers(1, 40), seed=st.integers(0, 1000))
def test_drawing_more_keeps_the_scenes_that_are_drawn(few: int, more: int, seed: int) -> None:
    small = scenes(_MOMO, ShotPlan(), Redraw(candidates=few, seed=seed))
    large = scenes(_MOMO, ShotPlan(), Redraw(candidates=few + more, seed=seed))
    assert large[:few] == small


@given(
    counts=st.tuples(*[st.integers(0, 30)] * 4).filter(any),
    pictures=st.integers(1, 200),
)
def test_framings_have_the_plans_shares_to_within_one_picture_however_many_are_taken(
    counts: tuple[int, int, int, int], pictures: int
) -> None:
    plan = ShotPlan(close_up=counts[0], portrait=counts[1], upper_body=counts[2], cowboy_shot=counts[3])
    taken = Counter(each for each, _ in zip(compositions(plan), range(pictures), strict=False))
    for composition in COMPOSITIONS:
        share = plan.count(composition) / sum(counts)
        assert abs(taken[composition] - share * pictures) < 2 if share else taken[composition] == 0


_SEEN = tuple(Seen(name, "portrait", ("portrait", "1girl", "smile")) for name in ("one", "two", "three"))


def test_a_scene_that_begins_with_a_screenshot_has_its_caption_and_the_traits_named() -> None:
    (scene,) = scenes(_MOMO, ShotPlan(), Redraw(candidates=1, from_screenshots=1.0), _SEEN[:1])
    assert (scene.screenshot, scene.framing, scene.clothes) == ("one", "portrait", "")
    assert scene.prompt == "momo, 1girl, solo, portrait, pink hair, cat ears, smile"


def test_eyes_that_a_screenshot_has_closed_are_not_named() -> None:
    shut = Seen("one", "portrait", ("portrait", "1girl", "closed_eyes"))
    figure = Figure("momo", ("1girl",), ("pink_hair", "green_eyes"))
    (scene,) = scenes(figure, ShotPlan(), Redraw(candidates=1, from_screenshots=1.0), (shut,))
    assert scene.prompt == "momo, 1girl, portrait, pink hair, closed eyes"


@given(share=st.floats(0, 1), count=st.integers(1, 60))
def test_so_large_a_share_of_the_pictures_begins_with_screenshots_all_of_them_in_turn(share: float, count: int) -> None:
    found = scenes(_MOMO, ShotPlan(), Redraw(candidates=count, from_screenshots=share), _SEEN)
    begun = [scene.screenshot for scene in found if scene.screenshot]
    assert abs(len(begun) - count * share) <= 0.5
    uses = Counter({one.name: 0 for one in _SEEN})
    uses.update(begun)
    assert max(uses.values()) - min(uses.values()) <= 1
    assert [scene.seed for scene in found] == list(range(1000, 1000 + count))
    free = [scene for scene in found if not scene.screenshot]
    plain = scenes(_MOMO, ShotPlan(), Redraw(candidates=count))
    assert [scene.prompt for scene in free] == [scene.prompt for scene in plain[: len(free)]]


def test_without_any_screenshot_to_begin_with_all_begin_with_noise() -> None:
    options = Redraw(candidates=5, from_screenshots=1.0)
    assert not any(scene.screenshot for scene in scenes(_MOMO, ShotPlan(), options))


def test_every_entry_of_a_list_is_used_once_before_any_is_used_again() -> None:
    options = Redraw(candidates=14, clothes=tuple("abcdefg"))
    worn = [scene.clothes for scene in scenes(_MOMO, ShotPlan(), options)]
    assert set(worn[:7]) == set(worn[7:]) == set("abcdefg")


def test_seeds_count_up_from_the_recipes_and_another_one_mixes_the_lists_anew() -> None:
    first, other = (scenes(_MOMO, ShotPlan(), Redraw(candidates=30, seed=seed)) for seed in (5, 6))
    assert [scene.seed for scene in first] == list(range(5, 35))
    assert [scene.place for scene in first] != [scene.place for scene in other]


def test_quotas_are_the_plan_itself_or_a_smaller_or_larger_set_in_its_shares() -> None:
    assert quotas(ShotPlan(), 0) == {"close-up": 1, "portrait": 11, "upper_body": 18, "cowboy_shot": 8}
    assert sum(quotas(ShotPlan(), 19).values()) == 19
    assert quotas(ShotPlan(), 76) == {"close-up": 2, "portrait": 22, "upper_body": 36, "cowboy_shot": 16}


def test_people_are_what_at_least_half_of_the_captions_say() -> None:
    captions = (("momo", "1girl", "solo", "smile"), ("momo", "1girl", "2boys"), ("momo", "1girl", "solo"))
    edited = [Edited(str(number), (), tags, ()) for number, tags in enumerate(captions)]
    assert people_of(edited) == ("1girl", "solo")


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("{trigger}, {traits}", "{framing} is missing"),
        ("{trigger}, {framing}, {traits}, {hair}", "there is no {hair}"),
        ("{trigger}, {framing}, {traits}, {", "a single brace"),
        ("{trigger}, {framing}, {traits}, {0}", "there is no {0}"),
    ],
)
def test_a_prompt_with_a_slot_that_is_not_known_or_that_is_missing_is_refused(prompt: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why.replace("{", r"\{").replace("}", r"\}")):
        Redraw(prompt=prompt)
