"""The content rule: over all sets of a run, from raw scores and words, without a switch."""

import inspect
from functools import partial

import pytest

from lora_core.captions.caption import caption
from lora_core.captions.content import check
from lora_core.captions.rules import Rules
from lora_core.dataset import Manifest
from lora_core.errors import ContentRuleError
from lora_core.recipe import Recipe
from lora_core.tagging.select import Thresholds, select

EXPLICIT = {"explicit": 0.8, "general": 0.1}
SAFE = {"general": 0.8, "questionable": 0.1}
HIGH = partial(select, least=Thresholds(general=0.9, character=0.9))

MINOR = """child children female_child male_child toddler baby loli lolicon shota oppai_loli onee-shota preteen underage
    kindergarten_uniform elementary_school_student randoseru aged_down age_regression little_girl kid
    mother_and_child"""
SEXUAL = """nude completely_nude nudity public_nudity topless bottomless nipples covered_nipples pussy penis anus sex
    oral_sex fellatio cum masturbation naked_apron breasts_out spread_pussy doggystyle cleft_of_venus pubic_hair
    uncensored after_sex nipple_slip partially_visible_vulva gangbang female_ejaculation"""
NEITHER = """1girl school_uniform serafuku flat_chest petite twintails chibi aged_up mother_and_daughter bikini swimsuit
    underwear midriff navel cleavage bare_shoulders babydoll after_rain childhood kidney position fetal_position glass
    analog_clock cumulonimbus_cloud penguin lolita_fashion gothic_lolita"""


@pytest.fixture
def one_set(entry, table, scores):
    def make(**images):
        manifest = Manifest(entries=tuple(entry(name) for name in images))
        made = {name: scores(general, rating=rating, character={}) for name, (general, rating) in images.items()}
        return manifest, table(**made)

    return make


@pytest.fixture
def run(one_set):
    def run(trigger="t", rules=None, **images):
        return caption(*one_set(**images), rules or Rules(), trigger, HIGH)

    return run


@pytest.mark.parametrize("sign", MINOR.split())
@pytest.mark.parametrize("rating", ["explicit", "questionable"])
def test_a_minor_and_a_sexual_rating_are_refused_at_any_caption_threshold(run, sign, rating):
    with pytest.raises(ContentRuleError, match=rf"a\.png codes a minor \({sign}\).*rating {rating}"):
        run(a=({sign: 0.4}, {rating: 0.6, "general": 0.5}))


@pytest.mark.parametrize(
    "balanced",
    [0.3771, 0.2653, 0.2614, 0.2682, 0.5296],
    ids=["v2 swin", "v3 swin", "v3 vit", "v3 convnext", "v3 eva02"],
)
def test_what_a_published_tagger_would_call_present_counts_whichever_it_is(run, balanced):
    """The models' own thresholds, from their model cards: there precision and recall are the same."""
    with pytest.raises(ContentRuleError, match="child"):
        run(a=({"child": balanced, "nude": balanced}, {}))


def test_a_trace_of_a_sign_is_none(run):
    _, edited = run(a=({"child": 0.2, "nude": 0.9}, EXPLICIT))
    assert "nude" in edited[0].tags
    assert "child" not in edited[0].tags


@pytest.mark.parametrize("sign", SEXUAL.split())
def test_a_minor_and_nudity_are_refused_without_any_rating_head(run, sign):
    with pytest.raises(ContentRuleError, match=rf"child.*\({sign}\)"):
        run(a=({"child": 0.5, sign: 0.5}, {}))


@pytest.mark.parametrize("tag", NEITHER.split())
def test_tags_that_merely_look_alike_are_no_sign(run, tag):
    for sign, rating in (("child", SAFE), ("nude", EXPLICIT)):
        _, edited = run(a=({sign: 0.9, tag: 0.9}, rating))
        assert sign in edited[0].tags


def test_the_two_signs_may_be_on_two_pictures(run):
    with pytest.raises(ContentRuleError, match=r"a\.png codes a minor .* b\.png is sexual"):
        run(a=({"loli": 0.9}, SAFE), b=({}, EXPLICIT))


def test_the_two_signs_may_be_in_two_sets_of_one_run(one_set):
    style, character = one_set(a=({}, EXPLICIT)), one_set(b=({"child": 0.9}, SAFE))
    check([style])
    check([character])
    with pytest.raises(ContentRuleError, match=r"b\.png codes a minor .* a\.png is sexual"):
        check([style, character])


def test_neither_sign_alone_is_refused(run):
    for sign, rating in (("child", SAFE), ("nude", EXPLICIT)):
        _, edited = run(a=({sign: 0.9}, rating))
        assert sign in edited[0].tags


def test_no_rule_hides_a_sign(run):
    for rules in (Rules(drop=("child", "nude")), Rules(memorize=("child",)), Rules(replace={"child": "1girl"})):
        with pytest.raises(ContentRuleError):
            run(rules=rules, a=({"child": 0.95, "nude": 0.95}, SAFE))


def test_aged_down_is_dropped_from_captions_and_counts_all_the_same(run):
    _, edited = run(a=({"aged_down": 0.95}, SAFE))
    assert "aged_down" not in edited[0].tags
    with pytest.raises(ContentRuleError, match="aged_down"):
        run(a=({"aged_down": 0.95}, EXPLICIT))


def test_what_rules_put_on_counts_as_well(run):
    for rules in (Rules(add=("loli",)), Rules.model_validate({"images": {"a": {"add": ["loli"]}}})):
        with pytest.raises(ContentRuleError, match="loli"):
            run(rules=rules, a=({"nude": 0.9}, EXPLICIT))


@pytest.mark.parametrize("trigger", ["hc_loli_mina", "mina-12yo", "Toddler", "shota"])
def test_a_trigger_that_codes_a_minor_counts(run, trigger):
    with pytest.raises(ContentRuleError, match="codes a minor"):
        run(trigger=trigger, a=({}, EXPLICIT))


@pytest.mark.parametrize(
    "prompt", ["mina, 1girl, nude", "mina lying naked on a bed", "mina, nsfw", "mina, public nudity"]
)
def test_a_prompt_that_is_sexual_counts(one_set, prompt):
    with pytest.raises(ContentRuleError, match="is sexual"):
        check([one_set(a=({"child": 0.9}, SAFE))], (prompt,))


@pytest.mark.parametrize(
    "words", ["momo", "hc_lolita_fashion", "a 112 years old elf", "20yo", "hckidd", "hcstyle 1girl"]
)
def test_innocent_words_are_let_pass(one_set, words):
    check([one_set(a=({}, EXPLICIT))], (words,))


def test_a_minor_and_nudity_in_words_alone_are_refused():
    with pytest.raises(ContentRuleError):
        check([], ("mina", "1girl, 14 years old", "nude, outdoors"))


def test_it_has_no_switch_and_no_option():
    assert list(inspect.signature(check).parameters) == ["sets", "words"]
    assert list(inspect.signature(caption).parameters) == ["manifest", "tags", "rules", "trigger", "select"]
    assert not [name for name in str(Recipe.model_json_schema()).split("'") if "content" in name.lower()]
