"""What the taxonomy takes and what it leaves."""

import csv
import json
from pathlib import Path

import pytest

from lora_core.captions import taxonomy

GOLDEN = Path(__file__).parent.parent / "golden"

TAKEN = {
    "hair_color": "blonde_hair light_brown_hair platinum_blonde_hair two-tone_hair colored_tips",
    "hair_length": "long_hair absurdly_long_hair short_hair_with_long_locks",
    "hair_style": "twintails side_ponytail twin_braids hair_bun ahoge messy_hair hair_on_horn ringlets parted_hair "
    "undercut cowlick single_sidelock twin_drills drill_hair",
    "bangs": "bangs blunt_bangs hair_between_eyes",
    "body_hair": "chest_hair arm_hair",
    "eye_color": "blue_eyes heterochromia black_sclera",
    "pupils": "slit_pupils one-eyed",
    "eye_shape": "tareme thick_eyebrows eyelashes eyebrows_hidden_by_hair",
    "ears": "cat_ears animal_ears pointy_ears animal_ear_fluff fake_animal_ears ears_through_headwear",
    "horns_tails_wings": "horns cat_tail halo feathered_wings head_fins",
    "skin": "dark_skin dark-skinned_female tanlines bikini_tan albino",
    "marks": "mole_under_eye freckles scar_on_cheek arm_tattoo forehead_mark chest_jewel",
    "mouth_fixed": "fang fang_out snout tusks",
    "makeup": "lipstick red_lips black_nails long_fingernails toenail_polish",
    "body": "muscular flat_chest large_breasts abs old_man toned_male biceps",
    "species": "elf cat_girl robot harpy extra_arms white_fur orc",
    "hair_ornaments": "hair_ornament hairclip black_hairband multiple_hair_bows bun_cover",
    "headpieces": "tiara tail_ribbon single_ear_cover",
    "eyewear": "glasses eyepatch round_eyewear eyewear_on_head bespectacled pince-nez",
    "jewelry": "earrings necklace pearl_bracelet jewelry armlet wedding_ring",
}

LEFT = (
    "closed_eyes half-closed_eyes empty_eyes one_eye_closed parted_lips lips nose nose_blush adjusting_hair wet_hair "
    "expressive_hair blood_in_hair dilated_pupils upturned_eyes spread_wings drill ruffling_hair floating_hair "
    "hand_in_own_hair eyes_visible_through_hair v-shaped_eyebrows raised_eyebrow "
    "constricted_pupils ear_blush looking_over_eyewear hat_with_ears animal_ear_headphones wing_collar tan_background "
    "shiny_skin shiny_hair 1girl solo smile open_mouth looking_at_viewer red_dress school_uniform long_sleeves "
    "white_background upper_body standing swing cattail playboy_bunny magical_girl tailcoat hairdressing tongue_out "
    "teeth crying"
)


FRAMINGS = "full_body portrait close-up head_out_of_frame feet_out_of_frame out_of_frame cropped_legs eye_focus"
NO_FRAMINGS = "cropped_jacket picture_frame portrait_(object) framed foot_focus from_behind"
ABOUT_THE_FILE = (
    "hakurei_reimu_(cosplay) 1990s_(style) watercolor_(medium) signature sample_watermark twitter_username "
    "english_text alternate_hair_color official_alternate_costume fake_screenshot artist_logo aged_down "
    "genderswap_(mtf) trait_connection adapted_costume crossover web_address"
)


TELLING = (
    "pink_hair two-tone_hair heterochromia twintails side_ponytail hair_bun one_side_up twin_braids cat_ears "
    "pointy_ears fox_tail horns halo dark_skin"
)
NOT_TELLING = (
    "long_hair medium_hair messy_hair ahoge bangs mole freckles hair_ribbon glasses floating_hair closed_eyes "
    "red_dress smile school_uniform animal_ear_headphones breasts"
)


@pytest.mark.parametrize(("family", "tag"), [(family, tag) for family, tags in TAKEN.items() for tag in tags.split()])
def test_a_trait_belongs_to_its_family(family, tag):
    assert taxonomy.family_of(tag) == family


@pytest.mark.parametrize("tag", LEFT.split())
def test_expressions_actions_clothes_and_places_belong_to_none(tag):
    assert taxonomy.family_of(tag) is None


def test_every_family_is_in_exactly_one_group():
    grouped = [family for members in taxonomy.groups().values() for family in members]
    assert sorted(grouped) == sorted(taxonomy.families())


@pytest.mark.parametrize("tag", FRAMINGS.split())
def test_framing_tags_are_known(tag):
    assert taxonomy.is_framing(tag)


@pytest.mark.parametrize("tag", NO_FRAMINGS.split())
def test_clothes_and_things_are_no_framing(tag):
    assert not taxonomy.is_framing(tag)


@pytest.mark.parametrize("tag", ABOUT_THE_FILE.split())
def test_tags_about_the_file_belong_nowhere(tag):
    assert taxonomy.is_foreign(tag)


def test_a_thing_with_brackets_is_not_taken_for_a_style():
    assert not taxonomy.is_foreign("star_(symbol)")


@pytest.mark.parametrize(
    ("tag", "beside", "hidden"),
    [
        ("green_eyes", {"closed_eyes"}, True),
        ("green_eyes", {"from_behind"}, True),
        ("green_eyes", {"one_eye_closed", "portrait"}, False),
        ("cat_tail", {"portrait"}, True),
        ("cat_ears", {"portrait", "closed_eyes"}, False),
        ("horns", {"portrait"}, False),
        ("long_hair", {"close-up"}, True),
        ("pink_hair", {"close-up", "from_behind"}, False),
        ("red_dress", {"close-up", "from_behind", "closed_eyes"}, False),
    ],
)
def test_what_cannot_be_seen_is_known(tag, beside, hidden):
    assert taxonomy.is_hidden(tag, beside) == hidden


@pytest.mark.parametrize("tag", TELLING.split())
def test_colours_tied_hair_ears_horns_and_tails_tell_characters_apart(tag):
    assert taxonomy.is_telling(tag)


@pytest.mark.parametrize("tag", NOT_TELLING.split())
def test_lengths_details_accessories_and_clothes_do_not(tag):
    assert not taxonomy.is_telling(tag)


def test_clothes_are_told_from_accessories_and_actions():
    clothes = "dress blue_hoodie school_uniform white_gloves hat long_sleeves"
    others = "hair_ribbon glasses adjusting_clothes dress_lift hat_removed smile open_mouth holding_mask"
    assert [tag for tag in (clothes + " " + others).split() if taxonomy.is_clothes(tag)] == clothes.split()


def test_what_a_trait_brings_along_are_families():
    for tag in ("elf", "cat_girl", "demon", "angel"):
        assert taxonomy.implied_by(tag) < set(taxonomy.families())
        assert taxonomy.implied_by(tag)
    assert taxonomy.implied_by("elfriede") == frozenset()


def test_every_one_of_the_300_most_frequent_tags_was_reviewed():
    with (GOLDEN / "wd_labels_300.csv").open(newline="") as file:
        tags = [row["name"] for row in csv.DictReader(file) if row["category"] == "0"]
    sorted_out: dict[str, list[str]] = {}
    for tag in tags:
        rule = "framing" if taxonomy.is_framing(tag) else "dropped" if taxonomy.is_foreign(tag) else "stays"
        sorted_out.setdefault(taxonomy.family_of(tag) or rule, []).append(tag)
    assert len(tags) == 300
    assert sorted_out == json.loads((GOLDEN / "taxonomy_300.json").read_text())
