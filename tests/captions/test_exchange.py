"""Folders of image + same-stem .txt, for other programs and back."""

import json

import pytest

from lora_core.captions.exchange import read_texts, texts_of, write_folder
from lora_core.captions.reading import caption_tags
from lora_core.errors import CaptionError, DatasetError, OutputExistsError


def test_a_folder_for_other_programs_has_a_text_beside_each_picture(store, captioned, tmp_path):
    target = tmp_path / "out"
    write_folder(store, captioned, target, trigger="hc_mina", report={"captions": 2})
    assert sorted(path.name for path in target.iterdir()) == ["a.png", "a.txt", "b.png", "b.txt", "report.json"]
    assert (target / "a.txt").read_bytes() == b"hc_mina, 1girl, upper body, star (symbol), ^_^"
    assert (target / "a.png").read_bytes() == store.get_bytes(captioned.entries[0].image)
    assert json.loads((target / "report.json").read_bytes())["captions"] == 2


def test_brackets_are_escaped_when_asked(store, captioned, tmp_path):
    write_folder(store, captioned, tmp_path, trigger="hc_mina", escape=True)
    assert (tmp_path / "a.txt").read_text("utf-8") == r"hc_mina, 1girl, upper body, star \(symbol\), ^_^"


@pytest.mark.parametrize("escape", [True, False])
def test_captions_are_read_back_as_they_were_written(store, captioned, tmp_path, escape):
    write_folder(store, captioned, tmp_path, trigger="hc_mina", escape=escape)
    texts = texts_of(captioned, read_texts(tmp_path))
    assert {name: caption_tags(text, "hc_mina") for name, text in texts.items()} == {
        entry.name: entry.caption for entry in captioned.entries
    }


def test_bom_windows_lines_and_sub_folders_are_read(captioned, tmp_path):
    (tmp_path / "10_mina").mkdir()
    (tmp_path / "10_mina" / "a.txt").write_bytes("\ufeffhc_mina, Wet Hair,\r\n star \\(symbol\\)\r\n".encode())
    texts = texts_of(captioned, read_texts(tmp_path))
    assert caption_tags(texts["a"], "hc_mina") == ("hc_mina", "wet_hair", "star_(symbol)")
    assert texts["b"] is None


def test_writing_again_replaces_texts_that_nobody_has_edited(store, captioned, tmp_path):
    write_folder(store, captioned, tmp_path, trigger="hc_mina")
    other = captioned.entries[0].model_copy(update={"caption": ("hc_mina", "upper_body", "grin")})
    write_folder(
        store, captioned.model_copy(update={"entries": (other, captioned.entries[1])}), tmp_path, trigger="hc_mina"
    )
    assert (tmp_path / "a.txt").read_text() == "hc_mina, upper body, grin"


def test_a_text_that_was_edited_by_hand_is_never_overwritten_and_nothing_else_is_written(store, captioned, tmp_path):
    write_folder(store, captioned, tmp_path, trigger="hc_mina")
    (tmp_path / "b.txt").write_text("hc_mina, 1girl, portrait, grin")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(OutputExistsError, match=r"b\.txt: was edited by hand .* --import"):
        write_folder(store, captioned, tmp_path, trigger="hc_mina")
    assert (tmp_path / "b.txt").read_text() == "hc_mina, 1girl, portrait, grin"
    assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize(
    "same", ["portrait,1girl,  closed_eyes, hc_mina", "1girl, portrait, closed eyes", "(portrait), 1girl, Closed Eyes"]
)
def test_a_text_that_says_the_same_in_another_way_may_be_replaced(store, captioned, tmp_path, same):
    write_folder(store, captioned, tmp_path, trigger="hc_mina")
    (tmp_path / "b.txt").write_text(same)
    write_folder(store, captioned, tmp_path, trigger="hc_mina")
    assert (tmp_path / "b.txt").read_text() == "hc_mina, 1girl, portrait, closed eyes"


@pytest.mark.parametrize("name", ["a.png", "a.txt", "report.json"])
def test_other_peoples_files_are_never_overwritten(store, captioned, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=name):
        write_folder(store, captioned, tmp_path, trigger="hc_mina")
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_picture_without_a_caption_is_not_written(store, captioned, tmp_path):
    bare = captioned.model_copy(update={"entries": (captioned.entries[0].model_copy(update={"caption": None}),)})
    with pytest.raises(CaptionError, match=r"a\.png: has no caption"):
        write_folder(store, bare, tmp_path / "out", trigger="hc_mina")
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        read_texts(tmp_path / "no")
    with pytest.raises(DatasetError, match=r"no \.txt or \.caption files"):
        read_texts(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CaptionError, match=r"a\.txt: not UTF-8"):
        read_texts(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.txt").write_text("y")
    with pytest.raises(CaptionError, match=r"another a\.txt in .*, which says something else"):
        read_texts(tmp_path)
