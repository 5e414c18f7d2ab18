"""The rule file."""

import pytest

from lora_core.captions.rule_file import read_rules, rules_for, write_overrides
from lora_core.captions.rules import Override, Rules, check_names
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
    assert rules_for(Captions(), "t").families() == set(groups()["body"])


def test_a_rule_file_goes_before_the_recipe_field_by_field(tmp_path):
    path = _write(tmp_path, 'memorize = ["blue_eyes"]\n')
    rules = rules_for(Captions(rules=str(path), memorize=("blonde_hair",), outfit=("red_dress",)), "t")
    assert rules.families() == {"eye_color"}
    assert rules.outfit == ("red_dress",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('memorise = ["x"]', r"captions\.toml: unknown option 'memorise'; did you mean 'memorize'"),
        ("[images.a]\nfaces = true", r"captions\.toml, images\.a: unknown option 'faces'; did you mean 'face'"),
        ('[images.a]\nframing = "full_body"', "framing"),
        ('[images.a]\nview = ["from_side", "from_behind"]', "at most one of"),
        ('add = ["full body"]', r"captions\.toml: add: 'full_body' is a framing"),
        ('add = ["from behind"]', r"captions\.toml: add: 'from_behind' is a view"),
        ('keep = ["portrait"]', "keep: 'portrait' is a framing"),
        ('[images.a]\ndrop = ["portrait"]', r"captions\.toml, images\.a: drop: 'portrait' is a framing"),
        ('[images.a]\nadd = ["from side"]', r"images\.a: add: 'from_side' is a view"),
        ('[images.a]\nadd = ["x"]\ndrop = ["x"]', "'x' is under drop and under add"),
        ('keep = ["x"]\ndrop = ["x"]', r"captions\.toml: 'x' is under drop and under keep"),
        ('outfit = ["red dress"]\nkeep = ["red_dress"]', "'red_dress' is under outfit and under keep"),
        ('drop = ["realistic"]', "'realistic' is under drop and under add or face"),
        ('replace = {smile = ""}', "'smile' by nothing; put it under drop"),
        ('memorize = [""]', "an empty tag"),
        ('add = ["wet hair, grin"]', "'wet hair, grin' is more than one tag"),
        ('replace = {a = "b", b = "c"}', "both makes 'b' and replaces it"),
        ('replace = {realistic = "b"}', "takes away 'realistic'"),
        ('trigger = "two words"', "trigger"),
        ('memorize = ["hair colour"]', "'hair_colour' is no family; did you mean 'hair_color'"),
        ('memorize = "x"', r'memorize = .x.: not a list; write memorize = \["x"\]'),
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


def test_a_rule_file_may_not_have_another_trigger_than_the_recipe(tmp_path):
    path = _write(tmp_path, 'trigger = "hc_mina"\n')
    assert rules_for(Captions(rules=str(path)), "hc_mina").trigger == "hc_mina"
    with pytest.raises(CaptionError, match="trigger 'hc_mina' is not the recipe's, 'momo'"):
        rules_for(Captions(rules=str(path)), "momo")


def test_a_star_stands_for_anything_and_every_other_letter_for_itself():
    rules = Rules(drop=("*_dress", "!?", "star_(symbol)"))
    dropped = [tag for tag in ("red_dress", "dress", "red_dressing", "!?", "!x", "star_(symbol)") if rules.drops(tag)]
    assert dropped == ["red_dress", "!?", "star_(symbol)"]


COMMENTED = """# mine
trigger = "hc_mina"   # rare

memorize = [
    "blonde_hair",  # 38 of 38
]

[images.a]
add = ["wet hair"]  # it rained

[images."b.1"]
face = false
"""


def test_overrides_are_written_beside_what_is_there_comments_and_all(tmp_path):
    path = tmp_path / "captions.toml"
    path.write_text(COMMENTED)
    write_overrides(path, {"c d": Override(add=("grin",), view=("from_side",), framing="portrait"), "b.1": None})
    text = path.read_text()
    assert text.startswith(COMMENTED[: COMMENTED.index('[images."b.1"]')])
    assert read_rules(path).images == {
        "a": Override(add=("wet_hair",)),
        "c d": Override(add=("grin",), view=("from_side",), framing="portrait"),
    }


def test_taking_the_last_override_away_leaves_no_empty_table(tmp_path):
    path = tmp_path / "captions.toml"
    path.write_text('add = ["grin"]\n')
    write_overrides(path, {"a": Override(face=True)})
    write_overrides(path, {"a": None})
    assert path.read_text().strip() == 'add = ["grin"]'


def test_a_rule_file_that_would_break_is_left_as_it_was(tmp_path):
    path = tmp_path / "captions.toml"
    path.write_text('replace = {smile = "grin"}\n')
    with pytest.raises(CaptionError, match="takes away 'smile'"):
        write_overrides(path, {"a": Override(add=("smile",))})
    assert path.read_text() == 'replace = {smile = "grin"}\n'


def test_a_rule_file_with_windows_lines_and_bom_is_written_to(tmp_path):
    path = tmp_path / "captions.toml"
    path.write_bytes('\ufefftrigger = "t"\r\nkeep = ["x"]\r\n'.encode())
    write_overrides(path, {"a": Override(add=("grin",))})
    assert (read_rules(path).trigger, read_rules(path).images["a"].add) == ("t", ("grin",))
