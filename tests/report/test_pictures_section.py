"""The report's section on the pictures: both sets beside the plan, and contact sheets that can be read."""

import base64
import re
from io import BytesIO
from types import SimpleNamespace

from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.images.coverage import coverage
from lora_core.recipe import ShotPlan
from lora_core.report.data import DataSheet
from lora_core.report.html import environment
from lora_core.store.digests import digest_of

PLAN = ShotPlan.model_validate({"close-up": 1, "portrait": 2, "upper_body": 0, "cowboy_shot": 0})


def section(**data: object) -> str:
    """The section alone."""
    template = environment().get_template("pictures.html.j2")
    return template.render(data=SimpleNamespace(**{"coverage": None, "sheets": (), **data}))


def entry(name: str, composition: str | None, *view: str) -> Entry:
    return Entry.model_validate(
        {
            "name": name, "source": f"{name}.png", "image": digest_of(name.encode()), "width": 8, "height": 8,
            "composition": composition, "view": view,
        }
    )  # fmt: skip


def rows(html: str) -> list[list[str]]:
    """The text of every cell, row by row."""
    found = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in found)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells]


def test_both_sets_stand_beside_the_plan_with_what_is_missing_and_how_they_differ() -> None:
    style = Manifest(entries=(entry("a", "close-up"), entry("b", "portrait"), entry("c", "portrait", "from_side")))
    character = Manifest(entries=(entry("d", "close-up"), entry("e", "portrait", "from_behind"), entry("f", None)))
    html = section(coverage=coverage(PLAN, {"style": style, "character": character}))
    assert rows(html) == [
        ["Composition", "Planned", "Style", "Character", "Difference"],
        ["close-up", "1", "1", "1", ""],
        ["straight-on", "", "1", "1", ""],
        ["portrait", "2", "2", "1 (−1)", "−1"],
        ["straight-on", "", "1", "–", "−1"],
        ["from side", "", "1", "–", "−1"],
        ["from behind", "", "–", "1", "+1"],
        ["upper body", "0", "0", "0", ""],
        ["cowboy shot", "0", "0", "0", ""],
        ["unknown", "", "0", "1", "+1"],
        ["straight-on", "", "–", "1", "+1"],
    ]
    assert "character: missing 1 of 2 portrait" in html
    assert "style: lacks portrait from behind (character has 1)" in html


def test_two_equal_sets_bring_no_warning() -> None:
    one = Manifest(entries=(entry("a", "close-up"), entry("b", "portrait"), entry("c", "portrait")))
    assert "flag" not in section(coverage=coverage(PLAN, {"style": one, "character": one}))


def test_a_tall_contact_sheet_keeps_its_width() -> None:
    buffer = BytesIO()
    Image.new("RGB", (1440, 4000), "white").save(buffer, "PNG")
    html = section(sheets=(DataSheet(title="Style", text="", picture=buffer.getvalue()),))
    (address,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    assert Image.open(BytesIO(base64.b64decode(address))).size == (1440, 4000)


def test_without_pictures_there_is_no_section() -> None:
    assert section().strip() == ""
