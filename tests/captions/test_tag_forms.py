"""Underscores, faces and brackets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.captions.reading import caption_tags, unweighted
from lora_core.captions.tags import KAOMOJI, canonical, caption_text, escaped, spaced, unescaped

WORD = st.text("abcxyz059-'", min_size=1, max_size=6)
TAG = st.builds(
    lambda words, aside: "_".join((*words, *aside)),
    st.lists(WORD, min_size=1, max_size=3),
    st.sampled_from(((), ("(symbol)",), ("(style)",))),
) | st.sampled_from(("\\m/", "\\||/", "double_\\m/", *sorted(KAOMOJI), ":3", ";)", ":>=", "year_of_the_rat"))


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("long hair", "long_hair"),
        (" Long  Hair ", "long_hair"),
        (r"star \(symbol\)", "star_(symbol)"),
        (r"star \\\(symbol\\)", "star_(symbol)"),
        ("^_^", "^_^"),
        (r"\m/", r"\m/"),
        (r"\\m/", r"\m/"),
        (r"\\\\m/", r"\m/"),
        (r"\(o\)_\(o\)", "(o)_(o)"),
    ],
)
def test_every_way_of_writing_a_tag_is_the_same_tag(text, tag):
    assert canonical(text) == tag


def test_faces_keep_their_underscores():
    assert [spaced(tag) for tag in ("^_^", "long_hair", "o_o")] == ["^_^", "long hair", "o_o"]


def test_backslashes_do_not_pile_up():
    text = "star (symbol)"
    assert unescaped(escaped(escaped(text))) == text


def test_the_trigger_keeps_its_underscores():
    assert caption_text(("hc_mina", "long_hair", "star_(symbol)"), "hc_mina") == "hc_mina, long hair, star (symbol)"


@given(st.lists(TAG, unique=True), st.booleans())
def test_a_caption_survives_being_written_and_read(tags, escape):
    caption = ("hc_Mina", *tags)
    text = caption_text(caption, "hc_Mina")
    assert caption_tags(escaped(text) if escape else text, "hc_Mina") == caption


def test_blanks_doubles_and_line_ends_are_survived():
    assert caption_tags("a, ,b,\r\nA , b c,", "t") == ("a", "b", "b_c")


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("(smile:1.2)", "smile"),
        ("((1girl))", "1girl"),
        ("[smile]", "smile"),
        ("(star (symbol):0.8)", "star (symbol)"),
        ("star (symbol)", "star (symbol)"),
        (r"\(smile\)", r"\(smile\)"),
        ("(o)_(o)", "(o)_(o)"),
        ("(a) and (b)", "(a) and (b)"),
        (":3", ":3"),
        ("()", ""),
        ("(", ""),
    ],
)
def test_a_prompts_weights_are_no_part_of_a_tag(text, tag):
    assert unweighted(text) == tag


def test_what_an_editor_makes_of_a_tag_that_is_there_twice_is_read_as_that_tag():
    assert caption_tags("t, ((1girl)), (full body:1.10), smile", "t") == ("t", "1girl", "full_body", "smile")
