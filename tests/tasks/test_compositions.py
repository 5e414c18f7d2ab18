"""The steps between tagging and captions: compositions, and the plan."""

from pathlib import Path

import pytest

from lora_core.captions.rules import Rules
from lora_core.dataset import Entry, Flag, Manifest, Rejected, Scores, TagTable, load_manifest, save_manifest, save_tags
from lora_core.errors import DatasetError
from lora_core.recipe import Preprocess, ShotPlan
from lora_core.refs import DatasetRef, TagsRef
from tasks.compositions import check_plan, settle_for_captions, settle_style
from tasks.preprocess import without_remarks
from tasks.runtime import RunContext

PLAN = ShotPlan.model_validate({"close-up": 0, "portrait": 1, "upper_body": 0, "cowboy_shot": 0})


@pytest.fixture
def at(tmp_path: Path) -> RunContext:
    return RunContext(store=str(tmp_path / "store"))


def _saved(at: RunContext, scores: dict[str, float], composition: str | None = None) -> tuple[DatasetRef, TagsRef]:
    store = at.open_store()
    image = store.put_bytes(repr(scores).encode())
    entry = Entry.model_validate(
        {"name": "a", "source": "a.png", "image": image, "width": 8, "height": 8, "composition": composition}
    )
    tags = TagTable(model="1" * 64, floor=0.05, images={image: Scores(rating={}, general=scores, character={})})
    return save_manifest(store, Manifest(entries=(entry,))), save_tags(store, tags)


def _entry(at: RunContext, ref: DatasetRef) -> Entry:
    return load_manifest(at.open_store(), ref).entries[0]


def test_the_character_gets_compositions_from_the_tagger_and_the_steps_behind_no_remarks(at: RunContext) -> None:
    squares, tags = _saved(at, {"portrait": 0.9, "from_side": 0.8})
    settled = settle_for_captions(squares, tags, Rules(), Preprocess(), at)
    assert _entry(at, settled).view == ("from_side",)
    bare = _entry(at, without_remarks(settled, at))
    assert (bare.composition, bare.view, bare.notes, bare.flags) == ("portrait", None, (), ())


def test_a_character_picture_in_doubt_stops_the_run_unless_the_rules_or_the_recipe_say_what_to_do(
    at: RunContext,
) -> None:
    squares, tags = _saved(at, {"portrait": 0.4, "upper_body": 0.4})
    with pytest.raises(DatasetError, match=r"a\.png: composition in doubt \(portrait 0\.40, upper_body 0\.40\)"):
        settle_for_captions(squares, tags, Rules(), Preprocess(), at)
    rules = Rules.model_validate({"images": {"a": {"framing": "close-up"}}})
    assert _entry(at, settle_for_captions(squares, tags, rules, Preprocess(), at)).composition == "close-up"
    left_out = settle_for_captions(squares, tags, Rules(), Preprocess(bad_pictures="leave_out"), at)
    assert "composition in doubt" in load_manifest(at.open_store(), left_out).rejected[0].reason


def test_a_style_picture_in_doubt_stays_flagged(at: RunContext) -> None:
    squares, tags = _saved(at, {"portrait": 0.4, "upper_body": 0.4})
    entry = _entry(at, settle_style(squares, tags, at))
    assert entry.composition is None
    assert entry.flags[0].code == "composition_in_doubt"


def test_what_the_sets_lack_is_said_and_an_empty_composition_refused(
    at: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("tasks.compositions.say", lambda text, mark: said.append(text))
    seen, tags = _saved(at, {"portrait": 0.9, "from_side": 0.8})
    style = settle_style(seen, tags, at)
    plain, tags = _saved(at, {"portrait": 0.9})
    check_plan(style, settle_style(plain, tags, at), PLAN, at)
    assert said == [
        "style: lacks portrait straight-on (character has 1)",
        "character: lacks portrait from_side (style has 1)",
    ]
    other, tags = _saved(at, {"upper_body": 0.9})
    with pytest.raises(DatasetError, match="character: no portrait picture, 1 planned"):
        check_plan(style, settle_style(other, tags, at), PLAN, at)


def test_a_run_says_how_many_pictures_are_left_out_or_to_look_at(
    at: RunContext, capsys: pytest.CaptureFixture[str]
) -> None:
    squares, _ = _saved(at, {}, "portrait")
    store = at.open_store()
    manifest = load_manifest(store, squares)
    flagged = tuple(entry.model_copy(update={"flags": (Flag(code="own_background"),)}) for entry in manifest.entries)
    rejected = (Rejected(source="b.png", reason="empty"), Rejected(source="c.txt", reason="a text", harmless=True))
    character = save_manifest(store, Manifest(entries=flagged, rejected=rejected))
    check_plan(squares, character, PLAN, at)
    said = " ".join(capsys.readouterr().err.split())
    assert "! character pictures: 1 left out, 1 to look at; --dry-run says why" in said
    assert "style pictures" not in said
