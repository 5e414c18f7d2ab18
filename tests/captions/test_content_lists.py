"""The content rule on its own two lists, tests/golden/content_must_*.json: written before the rule, held to by it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.captions.content import check
from lora_core.captions.plain_text import content_words, plain
from lora_core.captions.signs import minor_sign, rating_kind, sexual_sign
from lora_core.dataset import Manifest, Scores
from lora_core.errors import ContentRuleError

GOLDEN = Path(__file__).parents[1] / "golden"
OPPOSITE = {"minor": ("nude",), "sexual": ("child",), "both": ()}
"""What an entry of a half is paired with, so that its own sign decides alone."""


def texts_of(name: str) -> list[tuple[str, str]]:
    """Half and text of every entry but the rating heads."""
    lists = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    return [(half, text) for half in OPPOSITE for texts in lists[half].values() for text in texts]


def ratings_of(name: str) -> list[dict[str, float]]:
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))["ratings"]  # type: ignore[no-any-return]


MUST_REFUSE = (*texts_of("content_must_refuse"), *texts_of("content_held_out_refuse"))
MUST_PASS = (*texts_of("content_must_pass"), *texts_of("content_held_out_pass"))
MUST_REFUSE_RATINGS = (*ratings_of("content_must_refuse"), *ratings_of("content_held_out_refuse"))
MUST_PASS_RATINGS = (*ratings_of("content_must_pass"), *ratings_of("content_held_out_pass"))


def refused(*words: str) -> bool:
    """Whether words alone are refused."""
    try:
        check((), words)
    except ContentRuleError:
        return True
    return False


def paired(half: str, text: str) -> tuple[str, ...]:
    return (text, *OPPOSITE[half])


@pytest.fixture
def refused_on_pictures(entry, table):
    """Whether scores on two pictures are refused: as tags, at the lowest probability that counts."""

    def ask(*scores: Scores) -> bool:
        names = [f"p{index}" for index in range(len(scores))]
        made = Manifest(entries=tuple(entry(name) for name in names))
        try:
            check([(made, table(**dict(zip(names, scores, strict=True))))])
        except ContentRuleError:
            return True
        return False

    return ask


def test_the_lists_are_long_enough_and_say_nothing_twice():
    assert len(MUST_REFUSE) >= 150
    assert len(MUST_PASS) >= 150
    assert len({*MUST_REFUSE}) == len(MUST_REFUSE)
    assert len({*MUST_PASS}) == len(MUST_PASS)
    assert not {*MUST_REFUSE} & {*MUST_PASS}


@pytest.mark.parametrize(("half", "text"), MUST_REFUSE)
def test_nothing_that_must_be_refused_passes(half, text):
    assert refused(*paired(half, text))


def test_fewer_than_three_in_a_hundred_harmless_texts_are_refused():
    wrong = [text for half, text in MUST_PASS if refused(*paired(half, text))]
    assert len(wrong) < 0.03 * len(MUST_PASS), wrong


def test_a_tag_on_a_picture_is_read_as_a_word_in_a_prompt_is(refused_on_pictures):
    """Commas separate tags, so entries of several tags are several."""

    def asked(half: str, text: str) -> bool:
        tags = {tag.strip(): 0.25 for tag in (*text.split(","), *OPPOSITE[half])}
        return refused_on_pictures(Scores(rating={}, general=tags, character={}))

    missed = [text for half, text in MUST_REFUSE if not asked(half, text)]
    wrong = [text for half, text in MUST_PASS if asked(half, text)]
    assert not missed
    assert len(wrong) < 0.03 * len(MUST_PASS), wrong


@pytest.mark.parametrize("rating", MUST_REFUSE_RATINGS, ids=str)
def test_a_sexual_rating_counts_in_every_spelling_and_as_the_sum_of_its_kind(refused_on_pictures, rating):
    child, empty = Scores(rating={}, general={"child": 0.25}, character={}), {"general": {}, "character": {}}
    assert refused_on_pictures(child, Scores(rating=rating, **empty))


@pytest.mark.parametrize("rating", MUST_PASS_RATINGS, ids=str)
def test_a_rating_that_is_not_sexual_passes(refused_on_pictures, rating):
    child, empty = Scores(rating={}, general={"child": 0.25}, character={}), {"general": {}, "character": {}}
    assert not refused_on_pictures(child, Scores(rating=rating, **empty))


@pytest.mark.parametrize("rating", ["rating:explicit", "rating_questionable", "rating: e"])
def test_a_rating_among_the_ordinary_tags_counts_too(refused_on_pictures, rating):
    child = Scores(rating={}, general={"child": 0.5}, character={})
    assert refused_on_pictures(child, Scores(rating={}, general={rating: 0.3}, character={}))


def test_every_rating_has_one_kind_and_every_word_survives_its_own_plain_spelling():
    words = content_words()
    sexual, safe = ({plain(name) for name in words["ratings"][kind]} for kind in ("sexual", "safe"))
    assert not sexual & safe
    assert all(rating_kind(name, head=True) == "sexual" for name in sexual)
    for side, sign in (("minor", minor_sign), ("sexual", sexual_sign)):
        lost = [word for word in words[side]["words"] if not sign(word.removesuffix("*"))]
        assert not lost, side


ANYTHING = st.text(max_size=40)
PICK = st.sampled_from(MUST_REFUSE)
UNSEEN = st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u00ad\u0301\u0308\u0336\ufe0f\u202e")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F) if chr(code) not in ",;|"}


@given(PICK, st.lists(ANYTHING, max_size=4), st.randoms(use_true_random=False))
def test_no_further_word_and_no_order_turns_a_refusal_into_a_pass(picked, more, dice):
    words = [*paired(*picked), *more]
    dice.shuffle(words)
    assert refused(*words)
    assert refused(", ".join(words))


@given(PICK, st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))
def test_case_hides_nothing(picked, change):
    assert refused(*(change(word) for word in paired(*picked)))


@given(PICK)
def test_width_hides_nothing(picked):
    assert refused(*(word.translate(FULL_WIDTH) for word in paired(*picked)))


@given(PICK, st.sampled_from("_- /~"))
def test_what_separates_the_words_of_a_tag_hides_nothing(picked, between):
    assert refused(*(word.replace(" ", between).replace("_", between) for word in paired(*picked)))


@given(PICK, UNSEEN, st.integers(0, 40))
def test_what_does_not_show_hides_nothing(picked, unseen, place):
    half, text = picked
    at = place % (len(text) + 1)
    assert refused(text[:at] + unseen + text[at:], *OPPOSITE[half])


@given(PICK, st.sampled_from(["({})", "(({}))", "[{}]", "({}:1.2)", "\\({}\\)", "<{}>", "{{{}}}", '"{}"', "{}."]))
def test_weights_brackets_and_escapes_hide_nothing(picked, form):
    half, text = picked
    assert refused(*(form.format(part.strip()) for part in text.split(",")), *OPPOSITE[half])


@given(ANYTHING)
def test_any_text_at_all_can_be_asked_about_wherever_it_stands(text):
    assert refused(text, "child", "smile") == refused("smile", "child", text)


@given(st.lists(st.sampled_from([text for _, text in MUST_REFUSE]), max_size=6))
def test_one_side_alone_is_never_refused(texts):
    for sign in (minor_sign, sexual_sign):
        one_sided = [text for text in texts if not sign(text)]
        assert not refused(*one_sided)
