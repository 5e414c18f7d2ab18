"""Compositions and views from a tagger's scores: never a silent guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.dataset import Entry, Flag, Manifest, Rejected, Scores, TagTable
from lora_core.errors import DatasetError
from lora_core.images.composition import (
    composition_by_scores,
    refuse_doubtful,
    settle,
    view_by_scores,
    without_doubtful,
)
from lora_core.recipe import COMPOSITIONS

SOFT = Flag(code="soft", values=("0.70", "0.65"))
CLEAR = {"upper_body": 0.8, "portrait": 0.2}
CLOSE = {"upper_body": 0.5, "cowboy_shot": 0.4}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (CLEAR, "upper_body"),
        (CLOSE, None),  # .10 apart
        ({"portrait": 0.5, "upper_body": 0.35}, "portrait"),  # .15 apart
        ({"portrait": 0.34}, None),
        ({"portrait": 0.35}, "portrait"),
        ({"full_body": 0.9}, None),  # none of the four
        ({"cowboy_shot": 0.6, "full_body": 0.5}, None),
        ({}, None),
    ],
)
def test_a_composition_needs_to_be_likely_and_clearly_ahead(scores, expected):
    assert composition_by_scores(scores).composition == expected


def test_a_reading_gives_the_two_figures_it_rests_on():
    assert composition_by_scores(CLOSE).figures == "upper_body 0.50, cowboy_shot 0.40"


@given(st.dictionaries(st.sampled_from((*COMPOSITIONS, "full_body")), st.floats(0, 1)))
def test_whatever_is_chosen_leads_all_others_by_the_margin(scores):
    chosen = composition_by_scores(scores).composition
    if chosen is not None:
        others = max((score for name, score in scores.items() if name != chosen), default=0)
        assert scores[chosen] >= 0.35
        assert scores[chosen] - others >= 0.15


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"from_side": 0.6, "straight-on": 0.5, "from_above": 0.4}, ("from_side", "from_above")),
        ({"from_behind": 0.35}, ("from_behind",)),
        ({"from_side": 0.34, "from_below": 0.2}, ()),
    ],
)
def test_a_view_is_the_likelier_side_and_the_likelier_height(scores, expected):
    assert view_by_scores(scores) == expected


def _settled(composition=None, scores=CLEAR, said=None, flags=()):
    entry = Entry(
        name="a",
        source="x/a.png",
        image="0" * 64,
        width=8,
        height=8,
        composition=composition,
        notes=("n",),
        flags=flags,
    )
    tags = TagTable(model="1" * 64, floor=0.05, images={"0" * 64: Scores(rating={}, general=scores, character={})})
    return settle(Manifest(entries=(entry,)), tags, said or {}).entries[0]


def test_what_nobody_says_and_the_tagger_sees_clearly_is_taken_with_a_note():
    entry = _settled()
    assert entry.composition == "upper_body"
    assert entry.notes == ("n", "upper_body: as the tagger sees it (upper_body 0.80, portrait 0.20)")
    assert entry.flags == ()
    assert entry.view == ()


def test_what_is_in_doubt_stays_open_and_is_flagged():
    entry = _settled(scores=CLOSE, flags=(SOFT,))
    assert entry.composition is None
    assert entry.flag_texts == (SOFT.text, "composition in doubt (upper_body 0.50, cowboy_shot 0.40)")


def test_the_author_goes_before_the_tagger_and_the_caption_rules_before_both():
    assert _settled("portrait", CLOSE).composition == "portrait"
    entry = _settled("portrait", CLEAR, {"a": "close-up"})
    assert entry.composition == "close-up"
    assert entry.notes[-1] == "close-up: from the caption rules"


def test_an_author_whom_the_tagger_contradicts_is_believed_but_told():
    entry = _settled("portrait", {"cowboy_shot": 0.9, "portrait": 0.05})
    assert entry.composition == "portrait"
    assert entry.flag_texts == ("said to be portrait, but the tagger sees cowboy_shot 0.90, portrait 0.05",)
    assert _settled("portrait", {"cowboy_shot": 0.9, "portrait": 0.2}).flags == ()


def _manifest(*entries: Entry) -> Manifest:
    return Manifest(entries=entries, rejected=(Rejected(source="z", reason="r"),))


def test_doubt_stops_with_the_figures_and_what_to_do():
    doubtful = _settled(scores=CLOSE)
    with pytest.raises(
        DatasetError,
        match=r"x/a\.png: composition in doubt \(upper_body 0\.50, cowboy_shot 0\.40\); say it in composition\.csv",
    ):
        refuse_doubtful(_manifest(doubtful))
    refuse_doubtful(_manifest(_settled()))


def test_doubt_is_left_out_with_its_reason_when_the_recipe_says_so():
    doubtful = _settled(scores=CLOSE).model_copy(update={"name": "b", "source": "b.png"})
    rest = without_doubtful(_manifest(_settled(), doubtful))
    assert [entry.name for entry in rest.entries] == ["a"]
    assert [one.source for one in rest.rejected] == ["b.png", "z"]
    assert "composition in doubt" in rest.rejected[0].reason
