"""A set of pictures at a glance: thumbnails with name, composition and what was noticed."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from lora_core.dataset import Manifest
from lora_core.sampling.grid import shortened
from lora_core.store import Store

_THUMB_PX = 160
_TEXT_PX = 58
_GAP_PX = 14
_MARGIN_PX = 20
_COLUMNS = 8
_INK, _FAINT, _FLAG, _EDGE = "#1c1d22", "#6b6f7a", "#b04a12", "#dfe1e6"


@dataclass(frozen=True)
class Thumbnail:
    """One picture of a sheet and the lines below it."""

    picture: Image.Image
    name: str
    composition: str
    flags: tuple[str, ...]


def manifest_sheet(store: Store, manifest: Manifest, most: int = 80) -> Image.Image:
    """The first `most` pictures of a set.

    Raises:
        ValueError: the set is empty.
    """
    return contact_sheet(
        [
            Thumbnail(
                picture=Image.open(BytesIO(store.get_bytes(entry.image))),
                name=entry.name,
                composition=(entry.composition or "").replace("_", " "),
                flags=entry.notes,
            )
            for entry in manifest.entries[:most]
        ]
    )


def contact_sheet(thumbnails: Sequence[Thumbnail]) -> Image.Image:
    """Thumbnails of 160 px on white, eight a row.

    Raises:
        ValueError: there is no picture.
    """
    if not thumbnails:
        raise ValueError("a contact sheet needs a picture")
    columns = min(_COLUMNS, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    across, down = _THUMB_PX + _GAP_PX, _THUMB_PX + _TEXT_PX + _GAP_PX
    size = (2 * _MARGIN_PX + columns * across - _GAP_PX, 2 * _MARGIN_PX + rows * down - _GAP_PX)
    sheet = Image.new("RGB", size, "#ffffff")
    draw = ImageDraw.Draw(sheet)
    for number, thumbnail in enumerate(thumbnails):
        row, column = divmod(number, columns)
        _place(sheet, draw, thumbnail, _MARGIN_PX + column * across, _MARGIN_PX + row * down)
    return sheet


def _place(sheet: Image.Image, draw: ImageDraw.ImageDraw, thumbnail: Thumbnail, left: int, top: int) -> None:
    picture = thumbnail.picture.convert("RGB")
    picture.thumbnail((_THUMB_PX, _THUMB_PX), Image.Resampling.LANCZOS)
    sheet.paste(picture, (left + (_THUMB_PX - picture.width) // 2, top + (_THUMB_PX - picture.height) // 2))
    edge = _FLAG if thumbnail.flags else _EDGE
    draw.rectangle(
        (left - 1, top - 1, left + _THUMB_PX, top + _THUMB_PX), outline=edge, width=2 if thumbnail.flags else 1
    )
    lines = ((thumbnail.name, _INK), (thumbnail.composition, _FAINT), ("; ".join(thumbnail.flags), _FLAG))
    font = ImageFont.load_default(size=14)
    for number, (text, colour) in enumerate(lines):
        draw.text((left, top + _THUMB_PX + 5 + number * 18), shortened(text, _THUMB_PX, font), font=font, fill=colour)
