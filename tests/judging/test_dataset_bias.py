"""Which tags say place, framing and pose, and what a set of screenshots has in common."""

import pytest

from lora_core.captions.edit import Change, Edited
from lora_core.captions.taxonomy import known_tags
from lora_core.judging.evidence import (
    asks_for_a_place,
    dataset_bias_of,
    is_framing_or_pose,
    tags_of_prompt,
    traits_of,
)


def test_prompts_are_read_as_tags() -> None:
    assert tags_of_prompt("hc_mira, Upper Body, , smile") == ("hc_mira", "upper_body", "smile")


@pytest.mark.parametrize(
    "prompt",
    ["a, outdoors", "a, night sky", "flower field", "a, blue background", "a, street", "starry sky", "a, indoors"],
)
def test_a_prompt_that_names_a_place_asks_for_one(prompt: str) -> None:
    assert asks_for_a_place(tags_of_prompt(prompt))


@pytest.mark.parametrize(
    "prompt",
    [
        "a, smile",
        "a, white background",
        "a, simple background, grass",
        "a, transparent background",
    ],
)
def test_a_prompt_that_names_no_place_or_a_plain_one_asks_for_none(prompt: str) -> None:
    assert not asks_for_a_place(tags_of_prompt(prompt))


def test_framings_views_and_poses_are_told_from_traits_clothes_and_places() -> None:
    poses = (
        "upper_body",
        "cowboy_shot",
        "from_side",
        "straight-on",
        "looking_at_viewer",
        "standing",
        "arms_at_sides",
        "t-pose",
    )
    assert all(is_framing_or_pose(tag) for tag in poses)
    others = ("long_hair", "blue_eyes", "dress", "outdoors", "smile", "1girl", "sitting_duck_hat", "standing_collar")
    assert not [tag for tag in others if is_framing_or_pose(tag)]


def test_most_of_what_is_called_a_pose_is_known_to_taggers() -> None:
    """The lists are of tags as boorus spell them."""
    known = [tag for tag in known_tags() if is_framing_or_pose(tag)]
    assert {"standing", "sitting", "looking_at_viewer", "arms_behind_back", "head_tilt"} <= set(known)


def edited(*pictures: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[Edited, ...]:
    return tuple(
        Edited(
            str(number), (*before, *removed), ("hc_mira", *before),
            tuple(Change(tag, "removed", "traits", "whatever the words are") for tag in removed),
        )
        for number, (before, removed) in enumerate(pictures)
    )  # fmt: skip


def test_traits_and_bias_are_what_at_least_two_of_five_pictures_have() -> None:
    one, other = (("upper_body", "standing", "smile"), ("pink_hair",)), (("portrait",), ("pink_hair", "brown_hair"))
    pictures = edited(one, one, other, (("standing",), ()), (("from_side",), ()))
    assert traits_of(pictures) == ("pink_hair",)
    assert dataset_bias_of(pictures) == ("standing", "upper_body")
