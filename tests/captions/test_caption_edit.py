"""The caption edits: by example, and as properties over any tags."""

import csv
import random
from functools import partial
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lora_core.captions.edit import EDITS, Picture, edit, edit_tags, ordered
from lora_core.captions.rules import Rules, style_rules
from lora_core.captions.taxonomy import family_of, is_framing
from lora_core.dataset import Entry, Scores
from lora_core.errors import CaptionError
from lora_core.tagging.select import Thresholds, select

TAG_NAMES = """
    1girl 2girls solo blonde_hair brown_hair long_hair twintails blue_eyes closed_eyes cat_ears tail glasses hairclip
    red_dress school_uniform smile upper_body portrait full_body cowboy_shot from_side from_behind straight-on
    from_above from_below realistic nose lips signature star_(symbol) adjusting_hair hakurei_reimu english_text hc_mina
"""
TAGS = TAG_NAMES.split()
DIGEST = "0" * 64
MOST = partial(select, least=Thresholds(general=0.3, character=0.3))

tag_scores = st.dictionaries(st.sampled_from(TAGS), st.floats(0.05, 1.0), max_size=len(TAGS))
overrides = st.fixed_dictionaries(
    {},
    optional={
        "drop": st.lists(st.sampled_from([tag for tag in TAGS if not is_framing(tag)]), max_size=2),
        "add": st.lists(st.sampled_from(("wet_hair", "blue_eyes", "nose", "grin")), max_size=2),
        "framing": st.sampled_from(("close-up", "portrait", "upper_body", "cowboy_shot")),
        "view": st.lists(st.sampled_from(("from_behind", "from_above")), max_size=2, unique=True),
        "face": st.sampled_from((True, False)),
    },
)
rule_sets = st.fixed_dictionaries(
    {},
    optional={
        "memorize": st.lists(st.sampled_from(("blonde_hair", "ears", "accessories", "body", "red_dress")), max_size=3),
        "outfit": st.lists(st.sampled_from(("red_dress", "school_uniform")), max_size=2),
        "keep": st.lists(st.sampled_from(("cat_ears", "long_hair", "nose", "signature", "smile")), max_size=2),
        "drop": st.lists(st.sampled_from(("smile", "*_dress", "1girl")), max_size=2),
        "replace": st.sampled_from(({}, {"smile": "grin"}, {"tail": "brown_hair"})),
        "images": st.fixed_dictionaries({}, optional={"a": overrides}),
    },
)


def _rules(data):
    """Rules, or None where they contradict each other: those are refused (test_rules.py)."""
    try:
        return Rules.model_validate(data)
    except ValidationError:
        return None


rules_of_all_kinds = rule_sets.map(_rules).filter(lambda rules: rules is not None)
compositions = st.sampled_from(("close-up", "portrait", "upper_body", "cowboy_shot"))


def _picture(general, rules, composition):
    entry = Entry(name="a", source="a.png", image=DIGEST, width=8, height=8, composition=composition)
    names = {tag: score for tag, score in general.items() if tag == "hakurei_reimu"}
    rest = {tag: score for tag, score in general.items() if tag != "hakurei_reimu"}
    return Picture(entry, Scores(rating={}, general=rest, character=names), rules, "hc_mina")


def test_the_notes_edits_on_one_picture(entry, scores, half):
    edited = edit(entry(), scores(), Rules(), "hc_mina", half)
    assert edited.tags == (
        "hc_mina",
        "1girl",
        "solo",
        "upper_body",
        "straight-on",
        "realistic",
        "nose",
        "white_background",
        "red_dress",
        "closed_eyes",
        "adjusting_hair",
        "star_(symbol)",
    )
    assert edited.before[:3] == ("1girl", "solo", "blonde_hair")
    reasons = {change.tag: (change.action, change.rule) for change in edited.changes}
    assert reasons["brown_hair"] == ("removed", "1 traits: hair_color")
    assert reasons["hakurei_reimu"] == ("removed", "2 does not belong: a name that the tagger guessed")
    assert reasons["virtual_youtuber"] == ("removed", "2 does not belong: about the file, not the picture")
    assert reasons["full_body"] == ("removed", "3 framing: upper_body is the screenshot's composition")
    assert reasons["from_side"] == ("removed", "3 view: the likelier one stays")
    assert reasons["realistic"][0] == "added"
    assert reasons["nose"] == ("added", "5 face: seen at 0.20")
    assert reasons["hc_mina"] == ("added", "6 trigger: first and once")


def test_one_memorized_tag_takes_its_whole_family_and_no_other(entry, scores, half):
    tags = edit(entry(), scores(), Rules(memorize=("blonde_hair",)), "t", half).tags
    assert "brown_hair" not in tags
    assert {"long_hair", "cat_ears"} <= set(tags)


def test_the_outfit_goes_and_what_is_kept_stays(entry, scores, half):
    rules = Rules(outfit=("red_dress",), keep=("cat_ears",))
    tags = edit(entry(), scores(), rules, "t", half).tags
    assert "red_dress" not in tags
    assert "cat_ears" in tags


def test_a_pattern_in_the_outfit_takes_what_the_tagger_took_for_another_colour(entry, scores, half):
    general = {"dress": 0.9, "blue_dress": 0.8, "black_dress": 0.6, "dressing": 0.7}
    tags = edit(entry(), scores(general), Rules(outfit=("*dress",)), "t", half).tags
    assert set(tags) & set(general) == {"dressing"}


def test_an_elf_memorized_takes_its_ears_along(entry, scores, half):
    tags = edit(
        entry(), scores({"elf": 0.9, "pointy_ears": 0.9, "tail": 0.9}), Rules(memorize=("elf",)), "t", half
    ).tags
    assert set(tags) & {"elf", "pointy_ears", "tail"} == {"tail"}


def test_nothing_is_pruned_where_the_rules_say_so(entry, scores, half):
    tags = edit(entry(), scores(), Rules(prune=False, outfit=("red_dress",)), "t", half).tags
    assert {"blonde_hair", "long_hair", "red_dress"} <= set(tags)


def test_a_nose_that_is_kept_stays_in_a_back_view(entry, scores, half):
    general = {"from_behind": 0.9, "nose": 0.9, "lips": 0.9}
    assert set(edit(entry(), scores(general), Rules(keep=("nose",)), "t", half).tags) & {"nose", "lips"} == {"nose"}


@pytest.mark.parametrize(
    ("view", "expected"),
    [(None, {"straight-on"}), (("from_side", "from_above"), {"from_side", "from_above"}), ((), set())],
)
def test_a_view_that_was_read_before_goes_before_the_scores(entry, scores, half, view, expected):
    edited = edit(entry(view=view), scores({"straight-on": 0.9, "from_side": 0.6}), Rules(), "t", half)
    assert set(edited.tags) & {"straight-on", "from_side", "from_behind", "from_above", "from_below"} == expected


@pytest.mark.parametrize(
    ("composition", "general", "expected"),
    [
        ("close-up", {}, {"nose", "lips"}),
        ("portrait", {}, {"nose", "lips"}),
        ("upper_body", {"nose": 0.15, "lips": 0.14}, {"nose"}),
        ("cowboy_shot", {"nose": 0.4}, set()),
        ("cowboy_shot", {"nose": 0.6}, {"nose"}),
        ("portrait", {"from_behind": 0.9, "lips": 0.8}, set()),
    ],
)
def test_nose_and_lips_are_added_where_a_face_shows(entry, scores, half, composition, general, expected):
    tags = edit(entry(composition=composition), scores(general), Rules(), "t", half).tags
    assert set(tags) & {"nose", "lips"} == expected


def test_one_picture_can_be_told_apart(entry, scores, half):
    rules = Rules.model_validate(
        {
            "images": {
                "a": {
                    "drop": ["smile"],
                    "add": ["wet hair"],
                    "framing": "portrait",
                    "view": ["from_above"],
                    "face": False,
                }
            }
        }
    )
    general = {"smile": 0.9, "from_side": 0.9, "1girl": 0.9}
    assert edit(entry(), scores(general), rules, "t", half).tags == (
        "t", "1girl", "portrait", "from_above", "realistic", "wet_hair",
    )  # fmt: skip


def test_a_composition_that_nobody_said_is_not_guessed(entry, scores, half):
    unknown, general = entry(composition=None), scores({"portrait": 0.8})
    with pytest.raises(CaptionError, match=r"a\.png: its composition is unknown"):
        edit(unknown, general, Rules(), "t", half)
    rules = Rules.model_validate({"images": {"a": {"framing": "upper_body"}}})
    assert set(edit(unknown, general, rules, "t", half).tags) & {"portrait", "upper_body"} == {"upper_body"}


@examples(80)
@given(tag_scores, rules_of_all_kinds, compositions)
def test_any_caption_is_whole(general, rules, composition):
    picture = _picture(general, rules, composition)
    edited = edit(picture.entry, picture.scores, rules, "hc_mina", MOST)
    assert edited.tags[0] == "hc_mina"
    assert len(set(edited.tags)) == len(edited.tags)
    assert sum(is_framing(tag) for tag in edited.tags) == 1
    assert len(set(edited.tags) & {"straight-on", "from_side", "from_behind"}) <= 1
    allowed = {*rules.keep, *picture.override.add, "hc_mina"}
    assert not [tag for tag in edited.tags if family_of(tag) in rules.families() and tag not in allowed]


@examples(80)
@given(tag_scores, rules_of_all_kinds, compositions)
def test_nothing_goes_or_comes_without_a_reason(general, rules, composition):
    picture = _picture(general, rules, composition)
    edited = edit(picture.entry, picture.scores, rules, "hc_mina", MOST)
    before, after = set(edited.before), set(edited.tags)
    assert {one.tag for one in edited.changes if one.action == "removed"} == before - after
    assert {one.tag for one in edited.changes if one.action == "added"} == after - before
    assert all(one.rule for one in edited.changes)


@examples(80)
@given(tag_scores, rules_of_all_kinds, compositions)
def test_every_edit_is_idempotent_and_so_are_all_together(general, rules, composition):
    picture = _picture(general, rules, composition)
    tags = frozenset(general)
    for step in EDITS.values():
        once, _ = step(tags, picture)
        assert step(once, picture)[0] == once
        tags = once
    assert edit_tags(tags, picture) == (tags, ())


@examples(50)
@given(tag_scores, rules_of_all_kinds, compositions, st.randoms(use_true_random=False))
def test_the_order_of_scores_does_not_matter(general, rules, composition, chance: random.Random):
    shuffled = list(general.items())
    chance.shuffle(shuffled)
    first = _picture(general, rules, composition)
    second = _picture(dict(shuffled), rules, composition)
    results = [edit(one.entry, one.scores, rules, "hc_mina", MOST) for one in (first, second)]
    assert results[0] == results[1]


def test_equal_scores_are_ordered_by_name(entry, scores):
    picture = Picture(entry(), scores({}), Rules(), "t")
    assert ordered(frozenset(("sky", "sea", "t")), picture) == ("t", "sea", "sky")


def test_every_label_of_the_golden_table_goes_through_the_edits(golden_labels):
    picture = _picture({}, Rules(), "portrait")
    tags, changes = edit_tags(frozenset(golden_labels), picture)
    assert len(golden_labels) == len(tags & frozenset(golden_labels)) + sum(one.action == "removed" for one in changes)


@pytest.fixture(scope="module")
def golden_labels():
    """The 300 most frequent tags, in the order of a published label table."""
    path = Path(__file__).parent.parent / "golden" / "wd_labels_300.csv"
    with path.open(newline="") as file:
        return [row["name"] for row in csv.DictReader(file) if row["category"] == "0"]


def test_style_pictures_are_told_all_that_is_seen_but_the_look() -> None:
    seen = ("1girl", "blonde_hair", "twintails", "blue_eyes", "red_dress", "smile", "realistic", "nose", "lips", "3d")
    entry = Entry(name="a", source="a.png", image=DIGEST, width=8, height=8, composition="portrait")
    scores = Scores(rating={}, general=dict.fromkeys(seen, 0.9), character={})
    told = edit(entry, scores, style_rules(), "hcstyle", MOST).tags
    assert told[0] == "hcstyle"
    assert set(told) == {"hcstyle", "portrait", "1girl", "blonde_hair", "twintails", "blue_eyes", "red_dress", "smile"}
