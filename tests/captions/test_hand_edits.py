"""Captions edited by hand come back as overrides, and nothing of them is lost."""

from functools import partial

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from lora_core.captions.caption import caption
from lora_core.captions.exchange import Situation, hand_edits, with_overrides
from lora_core.captions.rules import Override, Rules
from lora_core.captions.tags import caption_text, escaped
from lora_core.dataset import Entry, Manifest, Scores, TagTable
from lora_core.errors import CaptionError
from lora_core.recipe import COMPOSITIONS
from lora_core.store.digests import digest_of
from lora_core.tagging.select import Thresholds, select

HALF = partial(select, least=Thresholds(general=0.5, character=0.5))
SAID_NAMES = "blonde_hair blue_eyes smile red_dress star_(symbol) from_side straight-on nose full_body hakurei_reimu"
SAID = SAID_NAMES.split()
TYPED = [*SAID, "wet_hair", "grin", "realistic", "lips", "1girl", "\\m/", "from_above", "Wet Hair"]


def _set(composition, general):
    entry = Entry(
        name="a", source="a.png", image=digest_of(b"a"), width=8, height=8, composition=composition, caption=None
    )
    scores = Scores(rating={}, general=general, character={})
    return Manifest(entries=(entry,)), TagTable(model=digest_of(b"m"), floor=0.05, images={entry.image: scores})


def _after(texts, manifest, tags, rules):
    """Hand edits, and the caption that rules with them make."""
    situation = Situation(rules, "hc_mina", HALF)
    edits = hand_edits(texts, manifest, tags, situation)
    changed = with_overrides(rules, edits)
    return edits, changed, caption(manifest, tags, changed, "hc_mina", HALF)[1][0].tags


def _one_view_each(tags):
    return len(tags & {"from_side", "straight-on"}) <= 1


@examples(150)
@given(
    composition=st.sampled_from((None, *COMPOSITIONS)),
    general=st.dictionaries(st.sampled_from(SAID), st.floats(0.05, 1.0), max_size=8),
    typed=st.sets(st.sampled_from([tag for tag in TYPED if tag != "full_body"]), max_size=8).filter(_one_view_each),
    framing=st.sampled_from(COMPOSITIONS),
    escape=st.booleans(),
    before=st.sampled_from(({}, {"add": ["grin"]}, {"framing": "close-up", "drop": ["smile"], "face": False})),
)
def test_whatever_is_typed_is_what_the_rules_say_from_then_on(composition, general, typed, framing, escape, before):
    manifest, tags = _set(composition, general)
    rules = Rules.model_validate({"images": {"a": before} if before else {}})
    text = caption_text(("hc_mina", framing, *sorted(typed)), "hc_mina")
    texts = {"a": escaped(text) if escape else text}
    _, changed, made = _after(texts, manifest, tags, rules)
    assert set(made) == {"hc_mina", framing, *(tag.lower().replace(" ", "_") for tag in typed)}
    again, unchanged, _ = _after(texts, manifest, tags, changed)
    assert (again, unchanged) == ({}, changed)


def test_an_override_says_just_what_differs():
    manifest, tags = _set("upper_body", {"1girl": 0.9, "smile": 0.9, "straight-on": 0.9})
    text = "hc_mina, 1girl, portrait, from side, realistic, wet hair, nose, lips"
    edits, changed, _ = _after({"a": text}, manifest, tags, Rules())
    assert changed.images == {
        "a": Override(framing="portrait", view=("from_side",), drop=("smile",), add=("wet_hair",))
    }
    assert edits["a"].added == ("from_side", "lips", "nose", "portrait", "wet_hair")
    assert edits["a"].removed == ("smile", "straight-on", "upper_body")


def test_a_view_taken_away_stays_away():
    manifest, tags = _set("upper_body", {"1girl": 0.9, "straight-on": 0.9})
    _, changed, made = _after({"a": "hc_mina, 1girl, upper body, realistic"}, manifest, tags, Rules())
    assert changed.images["a"] == Override(drop=("straight-on",))
    assert "straight-on" not in made


def test_another_order_a_missing_trigger_and_no_text_are_no_edits():
    manifest, tags = _set("upper_body", {"1girl": 0.9, "smile": 0.9})
    for text in ("smile, realistic, upper body, 1girl", "HC_MINA, 1girl, smile, upper_body, realistic", None):
        assert _after({"a": text}, manifest, tags, Rules())[0] == {}


def test_an_override_that_is_no_longer_needed_goes():
    manifest, tags = _set("upper_body", {"1girl": 0.9, "smile": 0.9})
    rules = Rules.model_validate({"images": {"a": {"drop": ["smile"]}, "b": {}}})
    _, changed, _ = _after_without_check({"a": "hc_mina, 1girl, smile, upper body, realistic"}, manifest, tags, rules)
    assert set(changed.images) == {"b"}


def _after_without_check(texts, manifest, tags, rules):
    edits = hand_edits(texts, manifest, tags, Situation(rules, "hc_mina", HALF))
    return edits, with_overrides(rules, edits), None


def test_a_tag_that_the_rules_replace_is_read_as_what_they_make_of_it():
    manifest, tags = _set("upper_body", {"1girl": 0.9})
    _, changed, made = _after(
        {"a": "hc_mina, 1girl, upper body, realistic, smile"}, manifest, tags, Rules(replace={"smile": "grin"})
    )
    assert changed.images["a"] == Override(add=("grin",))
    assert "grin" in made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hc_mina, 1girl, realistic", r"a\.txt: framing: none; write exactly one of close-up, portrait"),
        ("hc_mina, portrait, upper body", r"a\.txt: framing: portrait, upper_body; write exactly one"),
        ("hc_mina, full body", r"a\.txt: framing: full_body; write exactly one"),
        ("hc_mina", r"a\.txt: an empty caption"),
        (" \n", r"a\.txt: an empty caption"),
        ("hc_mina, portrait, from side, from behind", r"a\.txt: view = from_side, from_behind: at most one of"),
    ],
)
def test_a_text_that_cannot_be_a_caption_is_refused_by_name(text, message):
    manifest, tags = _set("upper_body", {"1girl": 0.9})
    with pytest.raises(CaptionError, match=message):
        _after({"a": text}, manifest, tags, Rules())
