"""Sheets of a data set: what was accepted, what was left out."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from lora_core.dataset import Entry, Flag, Manifest, Rejected
from lora_core.images.png import png_bytes
from lora_core.recipe import ShotPlan
from lora_core.report import contact_sheet as tiles
from lora_core.report.contact_sheet import Group, Tile, accepted_sheet, left_out_sheet, sheet, sheet_files
from lora_core.store import Store

RED, WHITE = (255, 0, 0), (255, 255, 255)
FLAGS = (Flag(code="own_background"), Flag(code="soft", values=("0.70", "0.65")))
LEFT, TOP = 24, 68  # of the first picture, without a heading


def tile(remark: str = "", *, faint: str = "") -> Tile:
    return Tile(Image.new("RGB", (160, 80), RED), "a name " * 20, faint, remark)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def red(store: Store) -> str:
    return store.put_bytes(png_bytes(Image.new("RGB", (64, 64), RED)))


def entry(name: str, image: str, composition: str | None = "portrait", **more: object) -> Entry:
    return Entry.model_validate(
        {"name": name, "source": name, "image": image, "width": 64, "height": 64, "composition": composition} | more
    )


def test_eight_pictures_stand_in_a_row_and_each_group_begins_a_new_one() -> None:
    eight, nine = (sheet("t", [Group("", (tile(),) * number)]) for number in (8, 9))
    assert eight.width == nine.width == 48 + 8 * 176 - 16
    assert nine.height - eight.height == 160 + 8 + 17 + 16
    apart = sheet("t", [Group("", (tile(),) * 8), Group("", (tile(),))])
    assert apart.size == nine.size


def test_pictures_keep_their_shape_and_stand_in_the_middle() -> None:
    drawn = sheet("", [Group("", (tile(),))])
    assert drawn.getpixel((LEFT + 80, TOP + 80)) == RED
    assert drawn.getpixel((LEFT + 80, TOP + 30)) == WHITE


def test_a_remark_gives_another_edge_and_takes_the_lines_that_it_needs() -> None:
    plain, noted = (sheet("", [Group("", (tile(remark),))]) for remark in ("", "blurred"))
    assert plain.getpixel((LEFT - 3, TOP + 80)) == WHITE
    assert noted.getpixel((LEFT - 3, TOP + 80)) not in (WHITE, RED)
    assert noted.height == plain.height + 17
    endless = sheet("", [Group("", (tile("word " * 200),))])
    assert endless.height == plain.height + 5 * 17


def test_what_has_no_picture_gets_an_empty_field() -> None:
    drawn = sheet("", [Group("", (Tile(None, "x"),))])
    assert drawn.getpixel((LEFT + 20, TOP + 20)) not in (WHITE, RED)


def test_a_thousand_pictures_are_one_sheet_of_bearable_size() -> None:
    drawn = sheet("", [Group("", (tile(),) * 1000)])
    assert max(drawn.size) < 4500


def test_letters_that_the_own_font_lacks_ask_the_system_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(tiles, "_system_font", lambda size: asked.append(size))
    sheet("plain 2×3 – → —", [Group("", (tile(),))])
    assert not asked
    sheet("顔アップ", [Group("", (tile(),))])
    assert asked


def test_of_a_long_name_the_end_is_kept_where_the_number_stands() -> None:
    font = ImageFont.load_default(size=14)
    for name in ("upper_body_from_above_and_the_left_0123", "x" * 300):
        end = tiles._end_of(name, 120, font)
        assert end.startswith("…")
        assert name.endswith(end[1:])
        assert font.getlength(end) <= 120 < font.getlength("…" + name[-len(end) :])
    assert tiles._end_of("short", 120, font) == "short"


def test_an_empty_sheet_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a picture"):
        sheet("t", [Group("nothing", ())])


def test_accepted_pictures_stand_under_their_compositions_in_the_plans_order(
    store: Store, red: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[Group]]] = []
    monkeypatch.setattr(
        "lora_core.report.contact_sheet.sheet",
        lambda title, groups: seen.append((title, groups)) or Image.new("RGB", (1, 1)),
    )
    entries = (
        entry("b", red, "upper_body", flags=FLAGS),
        entry("a", red, view=("from_side", "from_above")),
        entry("c", red, None),
    )
    accepted_sheet(store, Manifest(entries=entries), ShotPlan(), "set")
    ((title, groups),) = seen
    assert title == "set: 3 pictures, 1 to look at"
    shown = {
        group.heading: [(one.name, one.faint, one.remark) for one in group.tiles] for group in groups if group.tiles
    }
    assert shown == {
        "portrait: 1 (11 planned)": [("a", "from side, from above", "")],
        "upper body: 1 (18 planned)": [("b", "", "; ".join(flag.text for flag in FLAGS))],
        "composition unknown: 1": [("c", "", "")],
    }


def test_what_was_left_out_is_shown_with_its_reason_and_system_files_are_not(store: Store, red: str) -> None:
    rejected = (
        Rejected(source="sub/twin.png", reason="the same", harmless=True, image=red),
        Rejected(source="cut.png", reason="damaged", image=store.put_bytes(b"nothing")),
        Rejected(source="Thumbs.db", reason="a system file", harmless=True),
    )
    drawn = left_out_sheet(store, Manifest(entries=(), rejected=rejected), "set")
    assert drawn is not None
    assert drawn.getpixel((LEFT + 80, TOP + 80)) == RED
    assert drawn.getpixel((LEFT + 176 + 10, TOP + 10)) not in (WHITE, RED)
    assert drawn.getpixel((LEFT + 2 * 176 + 10, TOP + 10)) == WHITE
    assert left_out_sheet(store, Manifest(entries=(), rejected=rejected[2:]), "set") is None


def test_both_sheets_are_pngs_by_their_names(store: Store, red: str) -> None:
    manifest = Manifest(entries=(entry("a", red),), rejected=(Rejected(source="b", reason="r"),))
    files = sheet_files(store, manifest, ShotPlan(), "set")
    assert set(files) == {"sheets/accepted.png", "sheets/left_out.png"}
    assert all(Image.open(BytesIO(data)).format == "PNG" for data in files.values())
