"""What a set of pictures says of its character."""

import tomllib

import pytest

from lora_core.captions.rules import Rules
from lora_core.captions.suggest import rule_file, suggest
from lora_core.dataset import Manifest

EVERY = {"1girl": 0.99, "pink_hair": 0.9, "twintails": 0.9, "hoodie": 0.9, "signature": 0.9, "upper_body": 0.9}


@pytest.fixture
def suggestion(entry, table, scores, half):
    """Ten pictures: green eyes on four of six that could show them, red hair on one, ears below the threshold."""
    general = []
    for number in range(10):
        more = {"closed_eyes": 0.9} if number >= 6 else {"green_eyes": 0.9} if number < 4 else {}
        more |= {"red_hair": 0.9} if number == 9 else {}
        more |= {"glasses": 0.9} if number in (1, 2) else {}
        more |= {"blue_hoodie": 0.8} if number < 6 else {"hat": 0.9} if number == 8 else {}
        general.append({**EVERY, **more, "cat_ears": 0.4})
    names = [f"p{number}" for number in range(10)]
    manifest = Manifest(entries=tuple(entry(name) for name in names))
    tags = table(**{name: scores(one) for name, one in zip(names, general, strict=True)})
    return suggest(manifest, tags, half)


def _figures(candidates):
    return {one.tag: one.figure for one in candidates}


def test_traits_are_what_most_pictures_show_that_can_show_it(suggestion):
    assert _figures(suggestion.traits) == {
        "pink_hair": "10 of 10",
        "twintails": "10 of 10",
        "green_eyes": "4 of 6 where it could show",
    }


def test_strays_of_the_same_family_go_along_and_the_rest_of_the_traits_is_doubtful(suggestion):
    assert _figures(suggestion.strays) == {"red_hair": "1 of 10"}
    assert _figures(suggestion.doubtful) == {"glasses": "2 of 10"}


def test_clothes_on_most_pictures_are_offered_and_the_rest_stays(suggestion):
    assert _figures(suggestion.clothes) == {"hoodie": "10 of 10", "blue_hoodie": "6 of 10"}
    assert _figures(suggestion.rest) == {"1girl": "10 of 10", "closed_eyes": "4 of 10", "hat": "1 of 10"}


def test_a_trait_on_the_only_picture_that_could_show_it_is_doubtful(entry, table, scores, half):
    manifest = Manifest(entries=(entry("a", composition="upper_body"), entry("b", composition="portrait")))
    tags = table(a=scores({"cat_tail": 0.9}), b=scores({"1girl": 0.9}))
    found = suggest(manifest, tags, half)
    assert found.traits == ()
    assert _figures(found.doubtful) == {"cat_tail": "1 of 1 where it could show"}


def test_names_framings_views_and_marks_of_the_file_are_never_suggested(suggestion):
    every = (
        *suggestion.traits, *suggestion.strays, *suggestion.doubtful, *suggestion.clothes, *suggestion.rest,
    )  # fmt: skip
    assert not {one.tag for one in every} & {"hakurei_reimu", "upper_body", "signature"}


def test_the_suggested_file_is_a_rule_file_with_nothing_doubtful_decided(suggestion):
    text = rule_file(suggestion, "")
    data = tomllib.loads(text)
    assert data == {
        "trigger": "", "memorize": ["pink_hair", "twintails", "green_eyes"], "outfit": [], "keep": [], "drop": [],
    }  # fmt: skip
    assert Rules.model_validate(data).families() == {"hair_color", "hair_style", "eye_color"}
    for comment in (
        '"green_eyes",  # eye color, 4 of 6 where it could show',
        "# Going with their families: red hair 1",
        '# "glasses",  # eyewear, 2 of 10',
        '# "blue_hoodie",  # 6 of 10',
        "# Stays in the captions: 1girl 10, closed eyes 4, hat 1",
    ):
        assert comment in text
    assert max(len(line) for line in text.splitlines()) <= 110


def test_taking_a_mark_away_takes_the_offer(suggestion):
    text = rule_file(suggestion, "").replace('# "glasses"', '"glasses"').replace('# "hoodie"', '"hoodie"')
    rules = Rules.model_validate(tomllib.loads(text))
    assert "eyewear" in rules.families()
    assert rules.outfit == ("hoodie",)
