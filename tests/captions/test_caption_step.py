"""The caption step, its report, and folders for other programs."""

import json

import pytest

from lora_core.captions.caption import caption
from lora_core.captions.exchange import read_folder, write_folder
from lora_core.captions.explain import lines, report, too_long
from lora_core.captions.rules import Rules
from lora_core.captions.tags import caption_text
from lora_core.dataset import Manifest
from lora_core.errors import CaptionError, DatasetError, OutputExistsError


@pytest.fixture
def manifest(entry):
    return Manifest(entries=(entry("a"), entry("b", composition="portrait")))


def test_every_picture_gets_its_caption_and_nothing_else_changes(manifest, table, scores):
    captioned, edited = caption(manifest, table(a=scores(), b=scores()), Rules(), "hc_mina", 0.5)
    assert [one.caption for one in captioned.entries] == [one.tags for one in edited]
    assert captioned.entries[1].caption[:4] == ("hc_mina", "1girl", "solo", "portrait")
    assert tuple(one.model_copy(update={"caption": None}) for one in captioned.entries) == manifest.entries


def test_the_rule_files_trigger_goes_before_the_recipes(manifest, table, scores):
    _, edited = caption(manifest, table(a=scores(), b=scores()), Rules(trigger="hc_Other"), "hc_mina", 0.5)
    assert edited[0].tags[0] == "hc_Other"


def test_no_trigger_and_no_scores_are_refused(manifest, table, scores):
    with pytest.raises(CaptionError, match="no trigger"):
        caption(manifest, table(a=scores(), b=scores()), Rules(), "", 0.5)
    with pytest.raises(DatasetError, match=r"b\.png: no tagger scores"):
        caption(manifest, table(a=scores()), Rules(), "t", 0.5)


def test_an_override_for_no_picture_is_refused(manifest, table, scores):
    rules = Rules.model_validate({"images": {"c": {}}})
    with pytest.raises(CaptionError, match=r"images\.c"):
        caption(manifest, table(a=scores(), b=scores()), rules, "t", 0.5)


def test_the_report_is_plain_json_and_tells_before_after_and_why(manifest, table, scores):
    _, edited = caption(manifest, table(a=scores(), b=scores()), Rules(), "hc_mina", 0.5)
    told = report(edited)
    assert json.loads(json.dumps(told)) == told
    assert {"tag": "blonde_hair", "action": "removed", "rule": "1 traits: hair_color"} in told["images"]["a"]["changes"]
    assert told["frequency_before"]["blonde_hair"] == 2
    assert "blonde_hair" not in told["frequency_after"]
    assert told["frequency_after"]["portrait"] == 1
    assert any(line.strip().startswith("- blonde_hair  (1 traits") for line in lines(edited[0]))


def test_captions_that_clip_would_cut_are_named(manifest, table, scores):
    _, edited = caption(manifest, table(a=scores(), b=scores()), Rules(), "hc_mina", 0.5)
    assert too_long(edited, "hc_mina", len) == {one.name: len(_text(one)) for one in edited}
    assert too_long(edited, "hc_mina", lambda text: 75) == {}


def _text(one):

    return caption_text(one.tags, "hc_mina")


def test_a_folder_for_other_programs_has_escaped_text_beside_each_picture(store, captioned, tmp_path):
    target = tmp_path / "out"
    write_folder(store, captioned, target, trigger="hc_mina")
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "a.txt", "b.png", "b.txt"]
    assert (target / "a.txt").read_text("utf-8") == r"hc_mina, 1girl, upper body, star \(symbol\), ^_^"
    assert (target / "a.png").read_bytes() == store.get_bytes(captioned.entries[0].image)
    plain = tmp_path / "plain"
    write_folder(store, captioned, plain, trigger="hc_mina", escape=False)
    assert (plain / "a.txt").read_text("utf-8") == "hc_mina, 1girl, upper body, star (symbol), ^_^"


def test_the_same_bytes_are_fine_and_other_bytes_are_never_overwritten(store, captioned, tmp_path):
    write_folder(store, captioned, tmp_path / "out", trigger="hc_mina")
    write_folder(store, captioned, tmp_path / "out", trigger="hc_mina")
    (tmp_path / "out" / "b.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"b\.txt: exists with other bytes"):
        write_folder(store, captioned, tmp_path / "out", trigger="hc_mina")
    assert (tmp_path / "out" / "b.txt").read_text() == "mine"


def test_nothing_is_written_when_one_name_is_taken(store, captioned, tmp_path):
    (tmp_path / "b.txt").write_text("mine")
    with pytest.raises(OutputExistsError):
        write_folder(store, captioned, tmp_path, trigger="hc_mina")
    assert not (tmp_path / "a.png").exists()


def test_a_picture_without_a_caption_is_not_written(store, captioned, tmp_path):
    bare = captioned.model_copy(update={"entries": (captioned.entries[0].model_copy(update={"caption": None}),)})
    with pytest.raises(CaptionError, match=r"a\.png: has no caption"):
        write_folder(store, bare, tmp_path / "out", trigger="hc_mina")


@pytest.mark.parametrize("escape", [True, False])
def test_a_folder_is_read_back_as_it_was_written(store, captioned, tmp_path, escape):
    write_folder(store, captioned, tmp_path / "out", trigger="hc_mina", escape=escape)
    assert read_folder(store, tmp_path / "out", trigger="hc_mina") == captioned


def test_hand_edits_with_bom_and_crlf_are_read_and_empty_captions_told(store, captioned, tmp_path):
    write_folder(store, captioned, tmp_path, trigger="hc_mina")
    (tmp_path / "a.txt").write_bytes("\ufeffhc_mina, Wet Hair,\r\n star \\(symbol\\)\r\n".encode())
    (tmp_path / "b.txt").write_text(" \n")
    read = read_folder(store, tmp_path, trigger="hc_mina")
    assert read.entries[0].caption == ("hc_mina", "wet_hair", "star_(symbol)")
    assert read.entries[0].composition is None
    assert read.rejected[0].reason == "no caption in b.txt"


def test_folders_that_cannot_be_read_are_refused(store, captioned, tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        read_folder(store, tmp_path / "no", trigger="t")
    with pytest.raises(DatasetError, match=r"no NAME\.png"):
        read_folder(store, tmp_path, trigger="t")
    write_folder(store, captioned, tmp_path, trigger="hc_mina")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CaptionError, match=r"a\.txt: not UTF-8"):
        read_folder(store, tmp_path, trigger="hc_mina")
    (tmp_path / "a.txt").write_text("1girl")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"a\.png: not a readable PNG"):
        read_folder(store, tmp_path, trigger="hc_mina")
