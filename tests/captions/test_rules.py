"""The rule file."""

import pytest

from lora_core.captions.rules import Rules, check_names, read_rules, rules_for
from lora_core.captions.taxonomy import groups
from lora_core.errors import CaptionError
from lora_core.recipe import Captions


def _write(folder, text):
    path = folder / "captions.toml"
    path.write_text(text, "utf-8-sig")
    return path


def test_a_rule_file_is_read_with_spaces_or_underscores(tmp_path):
    path = _write(
        tmp_path,
        'trigger = "hc_Mina"\nmemorize = ["blonde hair", "ears"]\noutfit = ["red dress"]\n'
        'replace = {"azure dress" = "blue dress"}\n'
        '[images.a]\nadd = ["wet hair"]\nframing = "portrait"\nface = false\n',
    )
    rules = read_rules(path)
    assert rules.trigger == "hc_Mina"
    assert rules.families() == {"hair_color", "ears"}
    assert rules.outfit == ("red_dress",)
    assert rules.replace == {"azure_dress": "blue_dress"}
    assert (rules.images["a"].add, rules.images["a"].framing, rules.images["a"].face) == (
        ("wet_hair",),
        "portrait",
        False,
    )
    assert rules.add == ("realistic",)


def test_without_a_word_on_traits_the_whole_body_is_memorized():
    assert rules_for(Captions()).families() == set(groups()["body"])


def test_a_rule_file_goes_before_the_recipe_field_by_field(tmp_path):
    path = _write(tmp_path, 'memorize = ["blue_eyes"]\n')
    rules = rules_for(Captions(rules=str(path), memorize=("blonde_hair",), outfit=("red_dress",)))
    assert rules.families() == {"eye_color"}
    assert rules.outfit == ("red_dress",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('memorise = ["x"]', r"captions\.toml: unknown option 'memorise'; did you mean 'memorize'"),
        ("[images.a]\nfaces = true", r"captions\.toml, images\.a: unknown option 'faces'; did you mean 'face'"),
        ('[images.a]\nframing = "full_body"', "framing"),
        ('[images.a]\nview = ["from_side", "from_behind"]', "at most one of"),
        ('add = ["full body"]', "is a framing"),
        ('add = ["from behind"]', "is a view"),
        ('replace = {a = "b", b = "c"}', "both makes 'b' and replaces it"),
        ('replace = {realistic = "b"}', "takes away 'realistic'"),
        ('trigger = "two words"', "trigger"),
        ('memorize = ["hair colour"]', "'hair_colour' is no family; did you mean 'hair_color'"),
        ('memorize = "x"', "memorize"),
        ("memorize = [", "not a readable TOML"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_where_it_stands(tmp_path, text, message):
    with pytest.raises(CaptionError, match=message) as caught:
        read_rules(_write(tmp_path, text))
    assert "\n" not in str(caught.value).removesuffix("\n") or "TOML" in message


def test_a_missing_rule_file_is_refused(tmp_path):
    with pytest.raises(CaptionError, match="no such rule file"):
        read_rules(tmp_path / "captions.toml")


def test_an_override_for_no_picture_is_refused_with_the_nearest():
    rules = Rules.model_validate({"images": {"portrait_01": {}}})
    with pytest.raises(CaptionError, match=r"images\.portrait_01: .* did you mean 'portrait_1'"):
        check_names(rules, ("portrait_1", "x"))
