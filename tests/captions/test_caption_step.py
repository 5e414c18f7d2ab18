"""The caption step and what is told about it."""

import json

import pytest

from lora_core.captions.caption import caption, frequency_rows, lines, rare, report
from lora_core.captions.edit import Edited
from lora_core.captions.rules import Rules
from lora_core.captions.tags import caption_text
from lora_core.dataset import Manifest
from lora_core.errors import CaptionError, DatasetError


@pytest.fixture
def manifest(entry):
    return Manifest(entries=(entry("a"), entry("b", composition="portrait")))


@pytest.fixture
def edited(manifest, table, scores, half):
    return caption(manifest, table(a=scores(), b=scores()), Rules(), "hc_mina", half)[1]


def test_every_picture_gets_its_caption_and_nothing_else_changes(manifest, table, scores, half):
    captioned, edited = caption(manifest, table(a=scores(), b=scores()), Rules(), "hc_mina", half)
    assert [one.caption for one in captioned.entries] == [one.tags for one in edited]
    assert captioned.entries[1].caption[:4] == ("hc_mina", "1girl", "solo", "portrait")
    assert tuple(one.model_copy(update={"caption": None}) for one in captioned.entries) == manifest.entries


def test_the_rule_files_trigger_goes_before_the_recipes(manifest, table, scores, half):
    _, edited = caption(manifest, table(a=scores(), b=scores()), Rules(trigger="hc_Other"), "hc_mina", half)
    assert edited[0].tags[0] == "hc_Other"


def test_no_trigger_and_no_scores_are_refused(manifest, table, scores, half):
    with pytest.raises(CaptionError, match="no trigger"):
        caption(manifest, table(a=scores(), b=scores()), Rules(), "", half)
    with pytest.raises(DatasetError, match=r"b\.png: no tagger scores"):
        caption(manifest, table(a=scores()), Rules(), "t", half)


def test_an_override_for_no_picture_is_refused(manifest, table, scores, half):
    rules = Rules.model_validate({"images": {"c": {}}})
    with pytest.raises(CaptionError, match=r"images\.c"):
        caption(manifest, table(a=scores(), b=scores()), rules, "t", half)


def test_the_report_is_plain_json_and_tells_before_after_why_and_tokens(edited):
    told = report(edited, "hc_mina", len)
    assert json.loads(json.dumps(told)) == told
    assert {"tag": "blonde_hair", "action": "removed", "rule": "traits: hair_color"} in told["images"]["a"]["changes"]
    assert told["images"]["a"]["tokens"] == len(caption_text(edited[0].tags, "hc_mina"))
    assert told["frequency_before"]["blonde_hair"] == 2
    assert "blonde_hair" not in told["frequency_after"]
    assert told["frequency_after"]["portrait"] == 1


def test_a_captions_story_is_its_text_before_and_after_and_its_changes_by_rule(edited):
    told = list(lines(edited[0], "hc_mina", 31))
    assert told[0] == "a  (31 tokens)"
    assert told[1].startswith("  before  1girl, solo, blonde hair, white background, ")
    assert told[2].startswith("  after   hc_mina, 1girl, solo, upper body, ")
    assert "  − blonde hair, brown hair  (traits: hair_color)" in told
    assert "  + hc_mina  (trigger: first and once)" in told


def test_the_frequency_table_has_both_sides_and_the_commonest_first(edited):
    rows = frequency_rows(edited)
    assert rows[0] == ("1girl", 2, 2)
    assert ("blonde_hair", 2, 0) in rows
    assert ("hc_mina", 0, 2) in rows
    assert ("portrait", 0, 1) in rows
    highest = [max(before, after) for _, before, after in rows]
    assert highest == sorted(highest, reverse=True)


@pytest.mark.parametrize(
    ("captions", "hats", "named"),
    [
        (9, ("0",), ()),  # one of nine is more than a tenth
        (10, ("0",), ("0",)),
        (19, ("0", "9"), ()),
        (20, ("0", "9"), ("0", "9")),
        (60, ("0", "1", "2", "3"), ()),  # more than three
    ],
)
def test_a_tag_on_few_of_many_captions_names_them(captions, hats, named):
    names = [str(number) for number in range(captions)]
    edited = [Edited(name, (), ("t", "hat") if name in hats else ("t",), ()) for name in names]
    assert rare(edited) == ({"hat": named} if named else {})
