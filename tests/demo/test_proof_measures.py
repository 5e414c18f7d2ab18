"""Figures of one sample, against sums done by hand."""

import pytest

from demo.proof.families import NO_TAG, read, told, traits
from demo.proof.measures import Reading, adherence, figure_names, levels, measures
from demo.world.character import CAST

MOMO = CAST["momo"]  # pink twintails, green eyes, cat ears
PROMPT = "momo, 1girl, solo, upper body, smile, grass, purple dress"
BASE = Reading(tags={"pink_hair": 0.1, "green_eyes": 0.3, "smile": 0.9, "realistic": 0.02}, solid=0.05)
DRAWN = Reading(
    tags={
        "pink_hair": 0.9,
        "twintails": 0.6,
        "green_eyes": 0.2,
        "cat_ears": 0.5,
        "realistic": 0.42,
        "lips": 0.2,
        "upper_body": 1.0,
        "smile": 0.8,
        "grass": 0.5,
    },
    solid=0.35,
)


def test_identity_is_the_rise_of_each_family_and_their_mean() -> None:
    found = measures(MOMO, PROMPT, DRAWN, BASE)
    assert found["identity: hair colour"] == pytest.approx(0.8)
    assert found["identity: hair style"] == pytest.approx(0.6)
    assert found["identity: eye colour"] == pytest.approx(-0.1)
    assert found["identity: ears"] == pytest.approx(0.5)
    assert found["identity"] == pytest.approx((0.8 + 0.6 - 0.1 + 0.5) / 4)


def test_leak_is_the_mean_rise_of_realistic_3d_nose_and_lips() -> None:
    found = measures(MOMO, PROMPT, DRAWN, BASE)
    assert found["leak"] == pytest.approx((0.4 + 0 + 0 + 0.2) / 4)
    assert found["leak (probe)"] == pytest.approx(0.3)


def test_adherence_is_what_the_picture_has_of_what_was_asked() -> None:
    found = adherence(PROMPT, DRAWN)
    assert found["adherence: framing"] == pytest.approx(1.0)
    assert found["adherence: expression"] == pytest.approx(0.8)
    assert found["adherence: background"] == pytest.approx(0.5)
    assert found["adherence: clothes"] == pytest.approx(0.0)
    assert found["adherence"] == pytest.approx((1.0 + 0.8 + 0.5 + 0.0) / 4)


def test_two_tags_asked_of_one_family_count_by_their_mean() -> None:
    drawn = Reading(tags={"grass": 1.0, "outdoors": 0.5}, solid=0.0)
    assert adherence("grass, outdoors", drawn) == pytest.approx({"adherence: background": 0.75, "adherence": 0.75})


def test_what_the_prompt_names_is_no_merit_of_the_lora() -> None:
    found = measures(MOMO, f"{PROMPT}, pink hair, realistic", DRAWN, BASE)
    assert "identity: hair colour" not in found
    assert found["identity"] == pytest.approx((0.6 - 0.1 + 0.5) / 3)
    assert found["leak"] == pytest.approx(0.2 / 3)


def test_a_picture_like_the_base_models_own_has_neither_identity_nor_leak() -> None:
    found = measures(MOMO, PROMPT, BASE, BASE)
    assert not any(round(found[name], 9) for name in found if not name.startswith("adherence"))


@pytest.mark.parametrize(
    ("tags", "others"),
    [
        ({}, 0.0),
        ({"bear_ears": 0.5}, 1.0),
        ({"bear_ears": 0.49, "blue_eyes": 0.1}, 0.0),
        ({"cat_ears": 1.0, "twintails": 1.0, "pink_hair": 1.0, "green_eyes": 1.0, "hair_flower": 1.0}, 0.0),
        ({"dark_skin": 0.9, "ponytail": 0.8}, 1.0),
        ({"red_hair": 0.9}, 0.0),  # as prompted
    ],
)
def test_what_tells_another_character_is_counted_once_a_picture(tags: dict[str, float], others: float) -> None:
    found = measures(MOMO, f"{PROMPT}, red hair", Reading(tags=tags, solid=0.0), BASE)
    assert found["others"] == others


def test_levels_are_what_the_base_shows_by_itself() -> None:
    found = levels(MOMO, PROMPT, BASE)
    assert found["identity"] == pytest.approx((0.1 + 0.3) / 4)
    assert found["leak (probe)"] == pytest.approx(0.05)


def test_means_stand_before_their_parts() -> None:
    found = figure_names([measures(MOMO, PROMPT, DRAWN, BASE)])
    assert [name for name in found if ":" not in name] == ["identity", "leak", "leak (probe)", "adherence", "others"]
    assert found.index("identity") < found.index("identity: ears") < found.index("leak")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "momo",
            {"hair colour": "pink_hair", "hair style": "twintails", "eye colour": "green_eyes", "ears": "cat_ears"},
        ),
        ("yuki", {"hair colour": "black_hair", "hair style": "short_hair", "eye colour": "brown_eyes"}),
        (
            "zara",
            {
                "hair colour": "white_hair",
                "hair style": "long_hair",
                "eye colour": "purple_eyes",
                "ears": "pointy_ears",
                "skin": "dark_skin",
            },
        ),
    ],
)
def test_a_character_has_one_telling_tag_a_family(name: str, expected: dict[str, str]) -> None:
    assert traits(CAST[name]) == expected


def test_a_family_is_read_by_its_likeliest_tag_from_one_half_on() -> None:
    assert read("ears", {"cat_ears": 0.6, "bear_ears": 0.7}) == "bear_ears"
    assert read("ears", {"cat_ears": 0.49}) == NO_TAG
    assert told(CAST["momo"], "ears") == "cat_ears"
    assert told(CAST["yuki"], "ears") == NO_TAG
    assert told(CAST["zara"], "hair style") == NO_TAG  # long and open: none of the styles that have a tag
