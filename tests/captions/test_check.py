"""What a check finds, and what it lets pass."""

import pytest

from lora_core.captions.caption import caption
from lora_core.captions.check import (
    Finding,
    check_captions,
    check_lengths,
    examine,
    gathered,
    idle_rules,
)
from lora_core.captions.rules import Rules
from lora_core.captions.taxonomy import is_known, nearest
from lora_core.dataset import Manifest
from lora_core.diffusion.tokenizer import token_counter

GOOD = "hc_mina, 1girl, solo, upper body, straight-on, realistic, nose, red dress, star (symbol)"


def found(text, rules=None, name="a"):
    return [(one.fails, one.what) for one in check_captions({name: text}, rules or Rules(), "hc_mina")]


def test_a_good_caption_is_let_pass():
    assert found(GOOD) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "no caption: there is no .txt or .caption beside the picture"),
        (" \n", "an empty caption"),
        (GOOD.replace("hc_mina, ", ""), "the trigger hc_mina is missing"),
        (GOOD + ", hc_mina", "the trigger hc_mina is there 2 times"),
        ("1girl, hc_mina, portrait", "the trigger hc_mina is not first"),
        (GOOD.replace("upper body, ", ""), "no framing: one of close-up, portrait, upper body, cowboy shot is needed"),
        (GOOD + ", portrait", "2 framings (upper body, portrait): one is needed"),
        (GOOD.replace("upper body", "full body"), "framing full body: one of close-up, portrait, upper body, "
         "cowboy shot is needed"),
        (GOOD + ", from side", "2 views (straight-on, from side): at most one of straight-on, from side, from behind"),
        (GOOD + ", blue eyes", "blue eyes is of the memorized family eye_color: take it off, or name it under keep"),
        (GOOD + ", red_dress", "twice the same tag: red dress and red_dress"),
        (GOOD + ", solo", "twice the same tag: solo and solo"),
        (GOOD + ", (smile:1.2)", "(smile:1.2): a prompt's weight, which training reads as letters"),
    ],
)  # fmt: skip
def test_what_must_not_be_trained_on_fails(text, what):
    assert found(text) == [(True, what)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (GOOD + ", smlie", "unknown tag smlie: did you mean smile?"),
        (GOOD + ", qqqqqqq", "unknown tag qqqqqqq"),
        (GOOD + "\nsmile", "more than one line: kohya's trainer reads the first alone"),
        (
            GOOD.replace("(symbol)", r"\(symbol\)"),
            "brackets are escaped, as web UIs want them: a trainer reads the backslashes",
        ),
    ],
)
def test_what_a_person_should_look_at_does_not_fail(text, what):
    assert found(text) == [(False, what)]


def test_what_rules_memorize_keep_and_put_on_by_hand_is_told_apart():
    rules = Rules.model_validate(
        {
            "memorize": ["blonde_hair"],
            "outfit": ["*dress"],
            "keep": ["long_hair"],
            "images": {"a": {"add": ["brown_hair"]}},
        }
    )
    text = "hc_mina, portrait, red dress, long hair, blue eyes, brown hair"
    assert found(text, rules) == [
        (True, "red dress is memorized: take it off, or name it under keep"),
        (False, "brown hair is of the memorized family hair_color, and put on by hand: is that meant?"),
    ]
    assert found(text, rules, name="b")[1][0] is True
    assert found(text, rules.model_copy(update={"prune": False})) == []


WARDROBE = Rules.model_validate(
    {
        "keep": ["hair_bow"],
        "outfits": [
            {"folder": "dress", "words": "mina dress", "tags": ["*dress", "hair_bow"]},
            {"folder": "casual", "words": "mina hoodie", "tags": ["hoodie"]},
            {"folder": "20_mina", "words": ""},
        ],
        "images": {"by hand": {"add": ["red_dress"]}},
    }
)
WORN = "hc_mina, mina dress, 1girl, solo, upper body, hair bow"


@pytest.mark.parametrize(
    ("text", "folder", "what"),
    [
        (WORN, 0, ""),
        (WORN, None, ""),  # a flat folder does not say what is worn: the caption's own words do
        (GOOD, None, ""),  # elsewhere a dress is just a dress
        (GOOD, 2, ""),  # this folder has no words, only repeats
        (GOOD, 0, "the words of its outfit are missing: mina dress, behind the trigger"),
        (WORN + ", red dress", 0, "red dress is what mina dress stands for: take it off, or name it under keep"),
        (WORN + ", hoodie", 0, ""),
        (WORN + ", mina hoodie", None, "words of another outfit (mina hoodie): one picture shows one"),
        (
            "hc_mina, 1girl, mina_dress, upper body", 0,
            "the words of its outfit, mina dress, are not right behind the trigger",
        ),
    ],
)  # fmt: skip
def test_the_words_of_outfits_are_checked(text, folder, what):
    outfit = None if folder is None else WARDROBE.outfits[folder]
    told = check_captions({"a": text}, WARDROBE, "hc_mina", worn={"a": outfit})
    assert [str(one) for one in told if one.fails] == ([f"a: {what}"] if what else [])


def test_words_of_another_folders_outfit_fail_and_what_was_put_on_by_hand_is_asked_about():
    told = check_captions({"a": WORN}, WARDROBE, "hc_mina", worn={"a": WARDROBE.outfits[1]})
    assert [one.what for one in told] == [
        "the words of its outfit are missing: mina hoodie, behind the trigger",
        "words of another outfit (mina dress): one picture shows one",
    ]
    asked = found(WORN + ", red dress", WARDROBE, "by hand")
    assert asked == [(False, "red dress is what mina dress stands for, and put on by hand: is that meant?")]
    assert found(WORN + ", red dress", WARDROBE.model_copy(update={"prune": False})) == []


def test_captions_that_clip_cuts_are_named_with_their_tokens():
    count = token_counter()
    long = ", ".join(["smile"] * 38)  # 38 words and 37 commas
    assert count(long) == 75
    assert check_lengths({"a": long, "b": None}, count, 75) == ()
    assert [str(one) for one in check_lengths({"a": long + ", cat"}, count, 75)] == [
        "a (77 tokens): only the first 75 tokens are read: drop some tags"
    ]
    assert check_lengths({"a": long + ", cat"}, count) == ()


def test_rules_that_do_nothing_are_told_with_what_was_probably_meant(entry, table, scores, half):
    general = {"red_dress": 0.9, "blonde_hair": 0.9, "smile": 0.9, "wet_hair": 0.9}
    manifest = Manifest(entries=(entry("a"), entry("b")))
    rules = Rules.model_validate(
        {
            "memorize": ["brown_hair", "blue_eyes", "ears"],
            "outfit": ["red_dres", "*_dress"],
            "keep": ["wet hair", "wett hair"],
            "drop": ["smiel", "*_text"],
            "replace": {"happy": "grin"},
            "add": ["realistic", "blury"],
        }
    )
    edited = caption(manifest, table(a=scores(general), b=scores(general)), rules, "apron", half)[1]
    assert list(idle_rules(rules, "apron", edited)) == [
        "trigger apron: a tag that models know already; better a word of your own",
        "memorize: blue eyes is on no picture",
        "outfit: red dres is on no picture; did you mean red dress, on 2?",
        "keep: wett hair is on no picture; did you mean wet hair, on 2?",
        "drop: smiel is on no picture; did you mean smile, on 2?",
        "drop: * text is on no picture",
        "replace: happy is on no picture",
        "add: unknown tag blury: did you mean blurry?",
    ]


def test_captions_that_rules_made_pass_their_own_check(entry, table, scores, half):
    manifest = Manifest(entries=(entry("a"), entry("b", composition="portrait")))
    edited = caption(manifest, table(a=scores(), b=scores()), Rules(), "hc_mina", half)[1]
    assert examine(edited, Rules(), "hc_mina", token_counter()) == ()


@pytest.mark.parametrize(
    ("rules", "pictures", "told"),
    [
        ({"memorize": ("cat_ears",)}, 4, True),
        ({"memorize": ("cat_ears",)}, 2, False),  # too few to tell
        ({"memorize": ("cat_ears", "blonde_hair")}, 4, False),  # the family goes
        ({"memorize": ("cat_ears",), "keep": ("pink_hair",)}, 4, False),
        ({"memorize": ("cat_ears",), "prune": False}, 4, False),
        ({}, 4, False),
    ],
)
def test_a_hair_colour_that_was_forgotten_fails_unless_it_is_meant(entry, table, scores, half, rules, pictures, told):
    names = "abcd"[:pictures]
    manifest = Manifest(entries=tuple(entry(name) for name in names))
    seen = {name: scores({"1girl": 0.9, "pink_hair": 0.9, "cat_ears": 0.9}, character={}) for name in names}
    chosen = Rules.model_validate(rules)
    _, edited = caption(manifest, table(**seen), chosen, "hc_mina", half)
    forgotten = [one for one in examine(edited, chosen, "hc_mina", len) if "the trigger does not learn it" in one.what]
    assert [one.fails for one in forgotten] == [True] * told


def test_findings_are_gathered_by_matter_with_those_that_fail_first():
    findings = [
        Finding("a", "odd", fails=False),
        *(Finding(name, "bad", fails=True) for name in "abcde"),
        Finding("b", "odd", fails=False),
    ]
    assert [str(one) for one in gathered(findings)] == ["a, b, c and 2 more: bad", "a, b: odd"]


@pytest.mark.parametrize("tag", ["smile", "large_breasts", "platinum_blonde_hair", "hakurei_reimu_(cosplay)", "nude"])
def test_tags_of_vocabulary_taxonomy_and_content_rule_are_known(tag):
    assert is_known(tag)


@pytest.mark.parametrize(("tag", "near"), [("blond_hair", "blonde_hair"), ("cat_grl", "cat_girl"), ("xxyyzz", "")])
def test_a_misspelt_tag_is_unknown_even_where_a_family_would_take_it(tag, near):
    assert not is_known(tag)
    assert nearest(tag) == near


def test_what_the_tagger_gave_is_known_and_offered_first():
    assert is_known("momo_hoodie", {"momo_hoodie"})
    assert nearest("momo_hodie", {"momo_hoodie"}) == "momo_hoodie"
