"""Every file of a folder is an entry or has a reason."""

import os
import shutil

import pytest
from PIL import Image

from lora_core.errors import DatasetError
from lora_core.images.collect import collect, collect_all
from lora_core.store import Store


def test_every_file_is_accounted_for(store, screenshots, shot, tmp_path):
    good = shot("portrait/名前 with spaces.png")
    shot("portrait/two.png", shift=3)
    shutil.copy(good, screenshots / "copy.png")
    (screenshots / ".DS_Store").write_bytes(b"x")
    (screenshots / "Thumbs.db").write_bytes(b"x")
    (screenshots / "notes.doc").write_bytes(b"x")
    (screenshots / "empty.png").write_bytes(b"")
    (screenshots / "text.png").write_text("not a picture")
    outside = tmp_path / "outside.png"
    shutil.copy(good, outside)
    (screenshots / "link.png").symlink_to(outside)
    (screenshots / "gone.png").symlink_to(screenshots / "nowhere.png")
    manifest = collect(store, screenshots)
    assert [entry.source for entry in manifest.entries] == ["portrait/two.png", "portrait/名前 with spaces.png"]
    reasons = {one.source: one.reason for one in manifest.rejected}
    assert reasons["copy.png"] == "the same file as portrait/名前 with spaces.png, byte for byte"
    assert "hidden or system" in reasons[".DS_Store"]
    assert "hidden or system" in reasons["Thumbs.db"]
    assert "not a picture by its name" in reasons["notes.doc"]
    assert "empty file" in reasons["empty.png"]
    assert "not a picture" in reasons["text.png"]
    assert "outside the folder" in reasons["link.png"]
    assert "does not exist" in reasons["gone.png"]
    files = sum(len(names) for _, _, names in os.walk(screenshots))
    assert len(manifest.entries) + len(manifest.rejected) == files


def test_an_entry_is_the_source_as_it_is(store, screenshots, shot):
    path = shot("upper_body_1.png")
    (entry,) = collect(store, screenshots).entries
    assert store.get_bytes(entry.image) == path.read_bytes()
    assert (entry.name, entry.width, entry.height, entry.composition) == ("upper_body_1", 480, 270, "upper_body")


def test_a_known_file_is_not_opened_again(store, screenshots, shot, monkeypatch):
    shot("a.png")
    (screenshots / "bad.png").write_text("x")
    first = collect(store, screenshots)
    monkeypatch.setattr(store, "get_bytes", lambda sha256: pytest.fail("opened"))
    assert collect(store, screenshots) == first


def test_equal_stems_in_two_folders_get_their_folder_in_front(store, screenshots, shot):
    shot("portrait/001.png")
    shot("upper_body/001.png", shift=5)
    shot("upper_body/002.png", shift=9)
    names = [entry.name for entry in collect(store, screenshots).entries]
    assert names == ["portrait-001", "upper_body-001", "002"]


def test_equal_stems_in_one_folder_cannot_both_be_taken(store, screenshots, shot):
    shot("portrait.png")
    shot("portrait.bmp", shift=5)
    manifest = collect(store, screenshots)
    assert [entry.source for entry in manifest.entries] == ["portrait.bmp"]
    assert "has the same name as portrait.bmp" in manifest.rejected[0].reason


def test_captions_and_our_own_files_beside_pictures_are_harmless(store, screenshots, shot):
    shot("a.png")
    (screenshots / "sheets").mkdir()
    for name in ("a.txt", "report.json", "sheets/accepted.png"):
        (screenshots / name).write_text("1girl")
    (screenshots / "composition.csv").write_text("a.png,portrait\n")
    manifest = collect(store, screenshots)
    assert all(one.harmless for one in manifest.rejected)
    reasons = {one.source: one.reason for one in manifest.rejected}
    assert "headcanon itself" in reasons.pop("composition.csv")
    assert reasons["a.txt"] == "the caption of the picture beside it"
    assert set(reasons) == {"a.txt", "report.json", "sheets/accepted.png"}
    assert manifest.entries[0].composition == "portrait"


def test_a_listed_picture_that_is_not_there_is_told(store, screenshots, shot):
    shot("a.png")
    (screenshots / "composition.csv").write_text("b.png,portrait\n")
    assert "no such picture" in {one.source: one.reason for one in collect(store, screenshots).rejected}["b.png"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: folder.rmdir(), "no such folder"),
        (lambda folder: None, "an empty folder"),
        (lambda folder: (folder / "a.png").write_bytes(b""), r"a\.png: an empty file"),
    ],
)
def test_a_folder_without_a_picture_is_refused(store, screenshots, prepare, message):
    prepare(screenshots)
    with pytest.raises(DatasetError, match=message):
        collect(store, screenshots)


def test_of_equal_files_the_one_with_a_composition_stays_then_the_shorter_path(store, screenshots, shot):
    original = shot("zz/portrait_1.png")
    for copy in ("a.png", "zz/portrait_1 copy.png"):
        shutil.copy(original, screenshots / copy)
    assert [entry.source for entry in collect(store, screenshots).entries] == ["zz/portrait_1.png"]


def test_a_store_in_the_folder_is_refused_before_anything_is_written(screenshots, shot):
    shot("a.png")
    with pytest.raises(DatasetError, match=r"the store must not lie in .*screenshots"):
        collect(Store(screenshots / ".headcanon"), screenshots)
    assert [path.name for path in screenshots.iterdir()] == ["a.png"]


def test_the_folder_is_never_written_to(store, screenshots, shot):
    shot("a.png")
    before = sorted((path, path.stat().st_mtime_ns) for path in screenshots.rglob("*"))
    collect(store, screenshots)
    assert sorted((path, path.stat().st_mtime_ns) for path in screenshots.rglob("*")) == before


def test_a_screenshot_replaced_between_two_looks_at_it_is_one_version_in_all_that_is_told_of_it(
    store, screenshots, shot, tmp_path, monkeypatch
):
    path, digest_of_file = shot("a.png"), store.digest_of_file

    def then_replaced(asked):
        known = digest_of_file(asked)
        Image.new("RGB", (640, 512), "red").save(tmp_path / "new.png")
        (tmp_path / "new.png").replace(path)
        return known

    monkeypatch.setattr(store, "digest_of_file", then_replaced)
    (entry,) = collect(store, screenshots).entries
    assert (entry.width, entry.height) == (640, 512)
    assert store.get_bytes(entry.image) == path.read_bytes()
    monkeypatch.undo()
    assert collect(store, screenshots).entries == (entry,)


def test_several_folders_are_one_set_named_by_folder_and_a_picture_that_is_in_both_is_taken_once(
    store, screenshots, shot, tmp_path
):
    other = tmp_path / "screenshots-of-kuma"
    other.mkdir()
    shot(screenshots / "portrait_01.png")
    shot(other / "portrait_01.png", shift=30)
    (other / "portrait_02.png").write_bytes((screenshots / "portrait_01.png").read_bytes())
    manifest = collect_all(store, [screenshots, other])
    first, second = manifest.entries
    assert (first.name, first.source) == (f"{screenshots.name}-portrait_01", f"{screenshots.name}/portrait_01.png")
    assert (second.name, second.composition) == ("screenshots-of-kuma-portrait_01", "portrait")
    assert [one.source for one in manifest.rejected] == ["screenshots-of-kuma/portrait_02.png"]
    assert collect_all(store, [screenshots]) == collect(store, screenshots)


def test_two_folders_of_one_name_are_refused(store, screenshots, shot):
    shot(screenshots / "a.png")
    with pytest.raises(DatasetError, match="two folders of one set are called"):
        collect_all(store, [screenshots, screenshots])
