"""The content rule: over the whole set, from raw scores, without a switch."""

import inspect

import pytest

from lora_core.captions.caption import caption
from lora_core.captions.content import check
from lora_core.captions.rules import Rules
from lora_core.dataset import Manifest
from lora_core.errors import ContentRuleError

EXPLICIT = {"explicit": 0.8, "general": 0.1}
SAFE = {"general": 0.8, "questionable": 0.1}


@pytest.fixture
def run(entry, table, scores):
    def run(trigger="t", rules=None, **images):
        manifest = Manifest(entries=tuple(entry(name) for name in images))
        made = {name: scores(general, rating=rating, character={}) for name, (general, rating) in images.items()}
        return caption(manifest, table(**made), rules or Rules(), trigger, 0.9)

    return run


@pytest.mark.parametrize(
    "sign",
    ["child", "loli", "shota", "toddler", "baby", "kindergarten_uniform", "aged_down", "female_child", "randoseru"],
)
@pytest.mark.parametrize("rating", ["explicit", "questionable"])
def test_a_minor_and_a_sexual_rating_are_refused_at_any_caption_threshold(run, sign, rating):
    with pytest.raises(ContentRuleError, match=rf"a\.png codes a minor \({sign}\).*rating {rating}"):
        run(a=({sign: 0.4}, {rating: 0.6, "general": 0.5}))


def test_a_minor_and_nudity_are_refused_without_any_rating_head(run):
    with pytest.raises(ContentRuleError, match=r"child.*nude"):
        run(a=({"child": 0.5, "nude": 0.5}, {}))


def test_the_two_signs_may_be_on_two_pictures(run):
    with pytest.raises(ContentRuleError, match=r"a\.png codes a minor .* b\.png is sexual"):
        run(a=({"loli": 0.9}, SAFE), b=({}, EXPLICIT))


def test_neither_sign_alone_is_refused(run):
    run(a=({"child": 0.9}, SAFE))
    run(a=({"nude": 0.9}, EXPLICIT))


def test_no_rule_hides_a_sign(run):
    rules = Rules(drop=("child", "nude"), memorize=("child",))
    with pytest.raises(ContentRuleError):
        run(rules=rules, a=({"child": 0.9, "nude": 0.9}, SAFE))


def test_what_rules_and_trigger_say_counts_as_well(run):
    with pytest.raises(ContentRuleError, match="loli"):
        run(rules=Rules(add=("loli",)), a=({"nude": 0.9}, EXPLICIT))
    with pytest.raises(ContentRuleError, match="the trigger codes a minor"):
        run(trigger="hc_loli_mina", a=({}, EXPLICIT))


def test_it_has_no_switch():
    assert list(inspect.signature(check).parameters) == ["manifest", "tags", "words"]
    assert list(inspect.signature(caption).parameters) == ["manifest", "tags", "rules", "trigger", "threshold"]
