"""Underscores, faces and brackets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.captions.tags import canonical, caption_tags, caption_text, escaped, spaced, unescaped

WORD = st.text("abcxyz059-'", min_size=1, max_size=6)
TAG = st.builds(
    lambda words, aside: "_".join((*words, *aside)),
    st.lists(WORD, min_size=1, max_size=3),
    st.sampled_from(((), ("(symbol)",), ("(style)",))),
)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("long hair", "long_hair"),
        (" Long  Hair ", "long_hair"),
        (r"star \(symbol\)", "star_(symbol)"),
        (r"star \\\(symbol\\)", "star_(symbol)"),
        ("^_^", "^_^"),
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
