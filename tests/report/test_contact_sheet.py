"""Sheets of a data set."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.report.contact_sheet import Thumbnail, contact_sheet, manifest_sheet
from lora_core.store import Store

RED = (255, 0, 0)


def thumbnail(*flags: str) -> Thumbnail:
    return Thumbnail(Image.new("RGB", (512, 256), RED), "a name " * 20, "upper body", flags)


def test_eight_pictures_stand_in_a_row() -> None:
    assert contact_sheet([thumbnail()] * 9).size == (40 + 8 * 174 - 14, 40 + 2 * 232 - 14)
    assert contact_sheet([thumbnail()]).size == (200, 258)


def test_pictures_keep_their_shape_and_stand_in_the_middle() -> None:
    sheet = contact_sheet([thumbnail()])
    assert sheet.getpixel((100, 100)) == RED
    assert sheet.getpixel((100, 30)) == (255, 255, 255)


def test_a_noted_picture_has_another_edge() -> None:
    assert contact_sheet([thumbnail()]).getpixel((19, 100)) != contact_sheet([thumbnail("blurred")]).getpixel((19, 100))


def test_a_set_shows_its_pictures(tmp_path: Path) -> None:
    store = Store(tmp_path)
    buffer = BytesIO()
    Image.new("RGB", (64, 64), RED).save(buffer, "PNG")
    image = store.put_bytes(buffer.getvalue())
    entries = tuple(
        Entry(name=name, source=name, image=image, width=64, height=64, composition="portrait") for name in "abc"
    )
    assert manifest_sheet(store, Manifest(entries=entries), most=2).size == (40 + 2 * 174 - 14, 258)


def test_an_empty_set_has_no_sheet() -> None:
    with pytest.raises(ValueError, match="needs"):
        contact_sheet([])
