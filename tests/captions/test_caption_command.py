"""`headcanon caption` as a person uses it: suggest, explain, export, edit by hand, import."""

import json

import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from demo.project import MODELS
from flows.cli.app import app
from lora_core.captions.content import style_words_of, words_of
from lora_core.captions.rule_file import read_rules
from lora_core.captions.rules import Rules
from lora_core.dataset import Scores, TagTable
from lora_core.errors import CaptionError, ContentRuleError, OutputExistsError, RecipeError, UserError
from lora_core.recipe import Recipe, Redraw
from lora_core.store.digests import digest_of, file_digest
from lora_core.tagging.select import write_tags

RULES = 'trigger = "momo"\nmemorize = ["pink_hair"]  # mine\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Three pictures and their raw scores."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    scores = {}
    for number, name in enumerate(("portrait_1", "portrait_2", "upper_body_1")):
        path = tmp_path / "pictures" / f"{name}.png"
        Image.new("RGB", (32, 32), (number, 0, 0)).save(path)
        general = {"1girl": 0.99, "pink_hair": 0.9, "smile": 0.8, "star_(symbol)": 0.7, "red_dress": 0.6, "grin": 0.4}
        scores[file_digest(path)] = Scores(rating={"general": 0.9}, general=general, character={})
    write_tags(TagTable(model=digest_of(b"m"), floor=0.05, images=scores), tmp_path / "tags.json")
    (tmp_path / "captions.toml").write_text(RULES)
    return tmp_path


def run(*words_: str) -> str:
    """Run `headcanon caption` in the folder; returns what it printed.

    Raises:
        UserError: as the command does; `flows.cli.main` makes one line and exit status 2 of it.
    """
    done = CliRunner().invoke(app, ["caption", *words_])
    if done.exception is not None:
        if isinstance(done.exception, UserError):
            done.exception.add_note(done.output)
        raise done.exception
    return done.output


MADE = ("pictures", "--tags", "tags.json", "--rules", "captions.toml")


def test_a_doubtful_picture_hides_no_other_and_is_an_error_at_the_end(place):
    (place / "pictures" / "upper_body_1.png").rename(place / "pictures" / "late.png")
    with pytest.raises(CaptionError, match="1 of 3 pictures have no caption") as raised:
        run(*MADE, "--explain")
    told = "\n".join(raised.value.__notes__)
    assert told.count("  after ") == 2
    assert "✗ late.png: its composition is unknown" in told


def test_a_suggested_file_is_written_once_and_works_when_it_has_a_trigger(place):
    (place / "captions.toml").unlink()
    told = run("pictures", "--tags", "tags.json", "--suggest")
    assert "pink_hair" in told
    assert "Wrote captions.toml" in told
    with pytest.raises(OutputExistsError, match=r"captions\.toml: exists and is not overwritten"):
        run("pictures", "--tags", "tags.json", "--suggest")
    with pytest.raises(CaptionError, match=r"captions\.toml: no trigger"):
        run(*MADE, "--check")
    text = (place / "captions.toml").read_text()
    (place / "captions.toml").write_text(text.replace('trigger = ""', 'trigger = "momo"'))
    assert "3 captions checked, none fails" in run(*MADE, "--check")


def test_explain_shows_before_after_the_rule_and_the_figures(place):
    told = run(*MADE, "--explain")
    assert "  before  1girl, pink hair, smile, star (symbol), red dress\n" in told
    assert "  after   momo, 1girl, portrait, realistic, nose, lips, smile, star (symbol), red dress\n" in told
    assert "  − pink hair  (traits: hair_color)\n" in told
    rows = {line[:28].strip(): line[28:].split() for line in told.splitlines() if len(line) > 40}
    assert rows["pink hair"] == ["3", "–"]
    assert rows["portrait"] == ["–", "2"]
    assert "Tokens a caption: " in told


def test_one_tag_is_followed_through_every_picture_with_its_score_and_the_rule(place):
    told = run(*MADE, "--tag", "pink hair")
    assert told.count("0.90  removed (traits: hair_color)\n") == 3
    assert told.endswith('To keep it, write it into the rule file: keep = ["pink_hair"]\n')
    assert run(*MADE, "--tag", "grin").count("0.40  no tag: below the threshold\n") == 3
    assert run(*MADE, "--tag", "smile").count("0.80  stays\n") == 3
    assert run(*MADE, "--tag", "realistic").count("0.00  added (soaks up the 3D look: on every picture)\n") == 3
    with pytest.raises(CaptionError, match=r"--tag smlie: is on no picture.*; did you mean smile"):
        run(*MADE, "--tag", "smlie")


def test_a_threshold_takes_more_tags(place):
    assert "grin" not in run(*MADE, "--explain")
    assert "grin" in run(*MADE, "--explain", "--threshold", "0.3")


def test_out_writes_pictures_texts_and_a_report_and_leaves_the_pictures_alone(place):
    before = sorted((path, path.read_bytes()) for path in (place / "pictures").iterdir())
    run(*MADE, "--out", "dataset", "--escape")
    assert (place / "dataset" / "portrait_1.txt").read_text() == (
        r"momo, 1girl, portrait, realistic, nose, lips, smile, star \(symbol\), red dress"
    )
    told = json.loads((place / "dataset" / "report.json").read_bytes())
    assert told["frequency_before"]["pink_hair"] == 3
    assert told["images"]["portrait_1"]["tokens"] > 10
    for inside in ("pictures", "pictures/dataset"):
        with pytest.raises(UserError, match="never written to"):
            run(*MADE, "--out", inside)
    assert sorted((path, path.read_bytes()) for path in (place / "pictures").iterdir()) == before


def test_hand_edits_survive_new_rules(place):
    run(*MADE, "--out", "dataset")
    hand = "momo, 1girl, upper body, realistic, wet hair, star (symbol), red dress"
    (place / "dataset" / "portrait_1.txt").write_bytes(f"\ufeff{hand}\r\n".encode())
    with pytest.raises(OutputExistsError, match=r"portrait_1\.txt: was edited by hand"):
        run(*MADE, "--out", "dataset")
    told = run(*MADE, "--import", "dataset")
    assert "portrait_1\n  + upper body, wet hair\n  − lips, nose, portrait, smile\n" in told
    assert "1 of 3 captions were edited by hand; written to captions.toml" in told
    text = (place / "captions.toml").read_text()
    assert text.startswith(RULES)
    (place / "captions.toml").write_text(text.replace(RULES, RULES + 'drop = ["red_dress"]\n'))
    run(*MADE, "--out", "dataset2")
    written = set((place / "dataset2" / "portrait_1.txt").read_text().split(", "))
    assert written == {"momo", "1girl", "upper body", "realistic", "wet hair", "star (symbol)"}


def test_after_the_import_the_same_folder_may_be_written_again(place):
    run(*MADE, "--out", "dataset")
    (place / "dataset" / "portrait_1.txt").write_text("smile, 1girl, portrait")
    run(*MADE, "--import", "dataset")
    run(*MADE, "--out", "dataset")
    assert (place / "dataset" / "portrait_1.txt").read_text() == "momo, 1girl, portrait, smile"
    assert "0 of 3 captions were edited by hand\n" in run(*MADE, "--import", "dataset")


def test_texts_of_other_pictures_are_told_and_not_used(place):
    run(*MADE, "--out", "dataset")
    (place / "dataset" / "other.txt").write_text("momo, portrait")
    assert "! other.txt: there is no picture of this name; not used" in run(*MADE, "--import", "dataset")


def test_an_import_that_fails_changes_nothing(place):
    run(*MADE, "--out", "dataset")
    (place / "dataset" / "portrait_1.txt").write_text("momo, wet hair, portrait")
    (place / "dataset" / "portrait_2.txt").write_text("momo, wet hair")
    with pytest.raises(CaptionError, match=r"portrait_2\.txt: framing: none"):
        run(*MADE, "--import", "dataset")
    (place / "dataset" / "portrait_2.txt").write_text("momo, portrait, loli, nude")
    with pytest.raises(ContentRuleError):
        run(*MADE, "--import", "dataset")
    assert (place / "captions.toml").read_text() == RULES


def test_a_folder_of_texts_is_checked_as_it_lies_there(place):
    run(*MADE, "--out", "dataset")
    assert "3 captions checked, none fails" in run("dataset", "--rules", "captions.toml", "--check")
    (place / "dataset" / "portrait_1.txt").write_text("1girl, pink hair, pink_hair, portrait, full body, smlie")
    (place / "dataset" / "portrait_2.txt").unlink()
    with pytest.raises(CaptionError, match="2 of 3 captions fail the check") as caught:
        run("dataset", "--rules", "captions.toml", "--check")
    told = "".join(caught.value.__notes__)
    for line in (
        "✗ portrait_1: the trigger momo is missing",
        "✗ portrait_1: 2 framings (portrait, full body): one is needed",
        "✗ portrait_1: twice the same tag: pink hair and pink_hair",
        "✗ portrait_1: pink hair is of the memorized family hair_color",
        "✗ portrait_2: no caption: there is no .txt or .caption beside the picture",
        "! portrait_1: unknown tag smlie: did you mean smile?",
    ):
        assert line in told


def test_a_folder_with_outfits_is_checked_for_their_words(place):
    run(*MADE, "--out", "dataset")
    worn = place / "dataset" / "dress"
    worn.mkdir()
    for name in ("portrait_1.png", "portrait_1.txt"):
        (place / "dataset" / name).rename(worn / name)
    outfits = '[[outfits]]\nfolder = "dress"\nwords = "momo dress"\ntags = ["dress"]\n'
    (place / "outfits.toml").write_text(f"{RULES}\n{outfits}")
    with pytest.raises(CaptionError, match="1 of 3 captions fail the check") as caught:
        run("dataset", "--rules", "outfits.toml", "--check")
    assert caught.value.__notes__ == [
        "✗ portrait_1: the words of its outfit are missing: momo dress, behind the trigger\n"
    ]
    text = (worn / "portrait_1.txt").read_text().replace("momo, ", "momo, momo dress, ")
    (worn / "portrait_1.txt").write_text(text)
    assert "3 captions checked, none fails" in run("dataset", "--rules", "outfits.toml", "--check")


def test_the_content_rule_reads_a_folder_of_texts_too(place):
    run(*MADE, "--out", "dataset")
    (place / "dataset" / "portrait_1.txt").write_text("momo, portrait, nude")
    (place / "dataset" / "portrait_2.txt").write_text("momo, portrait, child")
    with pytest.raises(ContentRuleError):
        run("dataset", "--rules", "captions.toml", "--check")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("pictures",), "say what to do: --suggest, --explain, --tag TAG"),
        (("pictures", "--explain"), "--tags is missing"),
        (("pictures", "--tags", "tags.json", "--explain"), "--rules is missing"),
        (("pictures", "--check"), "--rules is missing"),
        (("pictures", "--tags", "no.json", "--rules", "captions.toml", "--explain"), r"no\.json: cannot be read"),
        (("pictures", "--tags", "tags.json", "--rules", "no.toml", "--explain"), r"no\.toml: there is no such rule"),
        (("no", "--tags", "tags.json", "--rules", "captions.toml", "--explain"), "no: there is no such folder"),
        ((*MADE, "--import", "no"), "no: there is no such folder"),
        (("no.toml", "--explain"), r"no\.toml: there is no such recipe"),
    ],
)
def test_what_is_missing_is_named(place, command, message):
    with pytest.raises(UserError, match=message):
        run(*command)


RECIPE = """
name = "Momo"
trigger = "momo"
base = "no-model-is-needed-here.safetensors"
style = "style"
character = "character"
[tagger]
model = '{tagger}'
[preprocess]
size = 128
[runtime]
store = "store"
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe with two pictures and the demo's tagger; the base model is not looked at."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "character").mkdir()
    for name, colour in (("portrait_001.png", "pink"), ("upper_body_001.png", "green")):
        picture = Image.new("RGBA", (300, 300))
        ImageDraw.Draw(picture).ellipse((50, 50, 250, 290), fill=colour)
        picture.save(tmp_path / "character" / name)
    (tmp_path / "recipe.toml").write_text(RECIPE.format(tagger=MODELS / "tagger"))
    return tmp_path


def test_a_recipe_knows_pictures_tags_and_rules(recipe):
    told = run("recipe.toml", "--suggest")
    assert 'Name it in the recipe: [captions] rules = "captions.toml"' in told
    assert read_rules(recipe / "captions.toml").trigger == "momo"
    text = (recipe / "recipe.toml").read_text()
    (recipe / "recipe.toml").write_text(text + '[captions]\nrules = "captions.toml"\n')
    told = run("recipe.toml", "--explain", "--check", "--out", "dataset")
    assert "2 captions checked, none fails" in told
    caption = (recipe / "dataset" / "portrait_001.txt").read_text()
    assert caption.startswith("momo, ")
    (recipe / "dataset" / "portrait_001.txt").write_text(caption + ", wet hair")
    run("recipe.toml", "--import", "dataset")
    assert read_rules(recipe / "captions.toml").images["portrait_001"].add == ("wet_hair",)


def test_a_recipes_screenshots_are_never_written_to(recipe):
    run("recipe.toml", "--suggest")
    with pytest.raises(UserError, match="never written to"):
        run("recipe.toml", "--rules", "captions.toml", "--out", "character/dataset")
    assert not (recipe / "character" / "dataset").exists()


def test_edits_are_not_taken_into_a_file_that_the_recipe_does_not_use(recipe):
    run("recipe.toml", "--suggest")
    (recipe / "dataset").mkdir()
    (recipe / "dataset" / "portrait_001.txt").write_text("momo, portrait, grin")
    with pytest.raises(CaptionError, match="the recipe names no rule file"):
        run("recipe.toml", "--import", "dataset")
    told = run("recipe.toml", "--rules", "captions.toml", "--import", "dataset")
    assert "1 of 2 captions were edited by hand; written to captions.toml" in told


def test_a_recipes_rule_file_with_another_trigger_is_refused(recipe):
    (recipe / "mine.toml").write_text('trigger = "other"\n')
    with pytest.raises(CaptionError, match="trigger 'other' is not the recipe's, 'momo'"):
        run("recipe.toml", "--rules", "mine.toml", "--explain")
    with pytest.raises(RecipeError):
        run("mine.toml", "--explain")


def test_the_content_rule_hears_what_a_recipe_says_of_its_characters():
    recipe = Recipe.model_validate(
        {"name": "Momo", "base": "b", "style": {"images": "all/s", "class_word": "1boy"}, "character": "all/c",
         "sampling": {"prompts": ["{trigger}, outdoors"], "style_prompts": ["1boy, night"], "negative": "child, nsfw",
                      "transfer": ["models/t.safetensors", "owner/name@0123"]},
         "publish": {"version": "v2"}}
    )  # fmt: skip
    rules = Rules.model_validate(
        {"memorize": ["m"], "outfit": ["o"], "keep": ["k"], "drop": ["never"], "replace": {"old": "new"}, "add": ["a"],
         "face": ["f"], "images": {"p": {"add": ["p"], "drop": ["q"]}}}
    )  # fmt: skip
    said = [each if isinstance(each, str) else each.text for each in words_of(recipe, rules)]
    assert [each for each in said if each] == [
        "Momo", "hcmomo", "hcstyle 1boy", "{prompt}", "{trigger}, outdoors", "1boy, night", "m", "o", "k", "new", "a",
        "f", "p", "b", "s", "c", "v2", "t.safetensors", "name",
    ]  # fmt: skip
    drawn = recipe.model_copy(
        update={"redraw": Redraw(use=True, traits=("t",), clothes=(), poses=("q",), scenes=("r",))}
    )
    assert {"t", "q", "r"} <= set(words_of(drawn, rules))
    style = [each if isinstance(each, str) else each.text for each in style_words_of(recipe)]
    assert style == ["hcstyle 1boy", "{prompt}", "1boy, night", "b", "s"]
