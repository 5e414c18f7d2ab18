"""A folder of pictures that people look at, brought up to date without touching what is theirs."""

import json
import os

import pytest

from lora_core.errors import OutputExistsError
from lora_core.images.collect import collect
from lora_core.images.export import report, write_pictures
from lora_core.images.pipeline import preprocess
from lora_core.recipe import Preprocess, ShotPlan

OPTIONS, PLAN = Preprocess(size=128), ShotPlan()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "written"


@pytest.fixture
def write(store, screenshots, target):
    """Preprocess the folder and write it; returns the manifest."""

    def run(**sheets: bytes):
        manifest = preprocess(store, collect(store, screenshots), OPTIONS)
        write_pictures(store, manifest, target, PLAN, {f"sheets/{name}.png": data for name, data in sheets.items()})
        return manifest

    return run


def test_a_written_folder_can_be_collected_again_with_its_compositions(store, screenshots, shot, write, target):
    shot("cowboy_shot/1.png")
    (screenshots / "x.txt").write_text("x")
    manifest = write(accepted=b"sheet")
    again = collect(store, target)
    assert [entry.image for entry in again.entries] == [manifest.entries[0].image]
    assert again.entries[0].composition == "cowboy_shot"
    told = json.loads((target / "report.json").read_text())
    assert told == json.loads(json.dumps(report(manifest, PLAN)))
    assert told["files"] == {"accepted": 1, "left_out": 1}
    assert told["rejected"][0]["source"] == "x.txt"
    rows = {row["composition"]: row for row in told["coverage"]["rows"]}
    assert (rows["cowboy_shot"]["there"], rows["cowboy_shot"]["planned"]) == ([1], 8)
    assert "7 of 8 cowboy_shot" in told["coverage"]["warnings"][0]


def test_what_a_person_should_look_at_is_a_list_of_its_own(shot, write, target):
    shot("portrait_1.png")
    shot("HS2_0001.png", shift=1)
    write()
    review = {one["name"]: one["flags"] for one in json.loads((target / "report.json").read_text())["review"]}
    assert set(review) == {"portrait_1", "HS2_0001"}
    assert review["portrait_1"][0].startswith("nearly the same as HS2_0001.png")


def test_a_picture_whose_composition_nobody_says_is_on_that_list(shot, write, target):
    shot("HS2_0001.png")
    write()
    (one,) = json.loads((target / "report.json").read_text())["review"]
    assert one == {"source": "HS2_0001.png", "name": "HS2_0001", "flags": ["composition unknown"]}


def test_a_second_call_reads_and_writes_no_picture(store, shot, write, target, monkeypatch):
    shot("a.png")
    write()
    before = (target / "a.png").stat().st_mtime_ns
    monkeypatch.setattr("lora_core.images.export.file_digest", lambda path: pytest.fail("read"))
    write()
    assert (target / "a.png").stat().st_mtime_ns == before


def test_the_folder_follows_the_screenshots(screenshots, shot, write, target):
    shot("a.png")
    shot("b.png", shift=40)
    write(left_out=b"one")
    (screenshots / "b.png").unlink()
    shot("c.png", shift=60)
    write(accepted=b"two")
    assert {path.name for path in target.glob("*.png")} == {"a.png", "c.png"}
    assert [path.name for path in (target / "sheets").iterdir()] == ["accepted.png"]
    assert len(json.loads((target / "report.json").read_text())["accepted"]) == 2


def test_a_file_that_somebody_changed_is_neither_overwritten_nor_removed(screenshots, shot, write, target):
    shot("a.png")
    shot("b.png", shift=40)
    write()
    (target / "b.png").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"b\.png: exists with other bytes"):
        write()
    (screenshots / "b.png").unlink()
    write()
    assert (target / "b.png").read_bytes() == b"mine"


def test_a_touched_file_with_the_same_bytes_is_still_ours(shot, write, target):
    shot("a.png")
    write()
    os.utime(target / "report.json", (1, 1))
    shot("b.png", shift=40)
    write()
    assert (target / "b.png").exists()


def test_other_bytes_in_the_way_are_never_overwritten_and_nothing_is_written(shot, write, target):
    shot("a.png")
    target.mkdir()
    (target / "a.png").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"a\.png: exists with other bytes"):
        write()
    assert [path.name for path in target.iterdir()] == ["a.png"]
