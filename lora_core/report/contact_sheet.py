"""A set of pictures at a glance: what was accepted, by composition, and what was left out, with the reason."""

import bisect
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from PIL import Image, ImageDraw, ImageFont

from lora_core.dataset import Entry, Manifest
from lora_core.images.collect import LEFT_OUT_SHEET_NAME, SHEET_NAME
from lora_core.images.coverage import seen_from
from lora_core.images.parallel import in_parallel
from lora_core.images.pipeline import thumbnail
from lora_core.images.png import png_bytes
from lora_core.recipe import COMPOSITIONS, ShotPlan
from lora_core.sampling.grid import Font, shortened, wrapped
from lora_core.store import Store

LARGE_PX = 160
# Beyond so many pictures they are shown smaller and without remarks; the other edge stays.
_MANY = 240
_SMALL_PX = 80
_COLUMNS, _MANY_COLUMNS = 8, 30
_GAP_PX = 16
_MARGIN_PX = 24
_TITLE_PX, _HEADING_PX, _LINE_PX = 44, 30, 17
_LEAST_WIDTH_PX = 560
_MOST_LINES = 5
_INK, _FAINT, _FLAG, _EDGE, _EMPTY = "#1c1d22", "#6b6f7a", "#b04a12", "#dfe1e6", "#f3f4f6"
# Pillow's own font has little but ASCII. These come with the usual systems; the first ones have Japanese letters.
_SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansJP-Regular.otf", "meiryo.ttc", "msgothic.ttc", "YuGothM.ttc",
    "Hiragino Sans GB.ttc", "ipagp.ttf", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "DejaVuSans.ttf", "Arial.ttf",
)  # fmt: skip
_SIMPLER = str.maketrans({"×": "x", "–": "-", "—": "-", "→": ">"})


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet.

    Attributes:
        picture: of any size; None leaves an empty field.
        name: below it.
        faint: a line below that.
        remark: what a person should read, in up to five lines; gives the picture another edge.
    """

    picture: Image.Image | None
    name: str
    faint: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Group:
    """Tiles under a heading."""

    heading: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class _Row:
    """Tiles beside each other; the first of a group carries its heading."""

    heading: str
    tiles: tuple[Tile, ...]
    side_px: int

    @property
    def lines(self) -> int:
        """Lines of text below the pictures: as many as the longest needs."""
        if self.side_px < LARGE_PX:
            return 1
        return max(1 + bool(tile.faint) + len(_remark(tile)) for tile in self.tiles)

    @property
    def height(self) -> int:
        """Pixels, with the gap below."""
        return (_HEADING_PX if self.heading else 0) + self.side_px + 8 + self.lines * _LINE_PX + _GAP_PX


def sheet(title: str, groups: Sequence[Group]) -> Image.Image:
    """Tiles on white; groups without any are left away. Up to 240 are shown at 160 px, more at 80.

    Raises:
        ValueError: there is no tile at all.
    """
    shown = [group for group in groups if group.tiles]
    if not shown:
        raise ValueError("a contact sheet needs a picture")
    many = sum(len(group.tiles) for group in shown) > _MANY
    side, most = (_SMALL_PX, _MANY_COLUMNS) if many else (LARGE_PX, _COLUMNS)
    columns = min(most, max(len(group.tiles) for group in shown))
    width = max(2 * _MARGIN_PX + columns * (side + _GAP_PX) - _GAP_PX, _LEAST_WIDTH_PX)
    rows = [row for group in shown for row in _rows(group, columns, side)]
    paper = Image.new("RGB", (width, 2 * _MARGIN_PX + _TITLE_PX + sum(row.height for row in rows) - _GAP_PX), "#ffffff")
    draw = ImageDraw.Draw(paper)
    _text(draw, (_MARGIN_PX, _MARGIN_PX - 4), title, 24, _INK, width - 2 * _MARGIN_PX)
    top = _MARGIN_PX + _TITLE_PX
    for row in rows:
        _draw_row(paper, draw, row, top)
        top += row.height
    return paper


def _rows(group: Group, columns: int, side_px: int) -> Iterator[_Row]:
    for start in range(0, len(group.tiles), columns):
        yield _Row("" if start else group.heading, group.tiles[start : start + columns], side_px)


def _draw_row(paper: Image.Image, draw: ImageDraw.ImageDraw, row: _Row, top: int) -> None:
    if row.heading:
        _text(draw, (_MARGIN_PX, top), row.heading, 18, _INK, paper.width - 2 * _MARGIN_PX)
        top += _HEADING_PX
    for number, tile in enumerate(row.tiles):
        left = _MARGIN_PX + number * (row.side_px + _GAP_PX)
        _draw_picture(paper, draw, tile, (left, top), row.side_px)
        _draw_text(draw, tile, (left, top + row.side_px + 6), row.side_px)


def _draw_picture(paper: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, at: tuple[int, int], side_px: int) -> None:
    left, top = at
    edge, width = (_FLAG, 3) if tile.remark else (_EDGE, 1)
    frame = (left - width, top - width, left + side_px - 1 + width, top + side_px - 1 + width)
    draw.rectangle(frame, outline=edge, width=width, fill=None if tile.picture else _EMPTY)
    if tile.picture is None:
        font = _font("", 15)
        draw.text((left + side_px / 2, top + side_px / 2), "no picture", fill=_FAINT, font=font, anchor="mm")
        return
    picture = tile.picture
    if max(picture.size) > side_px:  # by means over whole blocks: quick, and good enough at this size
        picture = picture.reduce(-(-max(picture.size) // side_px))
    paper.paste(picture, (left + (side_px - picture.width) // 2, top + (side_px - picture.height) // 2))


def _draw_text(draw: ImageDraw.ImageDraw, tile: Tile, at: tuple[int, int], side_px: int) -> None:
    left, top = at
    size = 14 if side_px == LARGE_PX else 11
    draw.text(at, _end_of(tile.name, side_px, _font(tile.name, size)), font=_font(tile.name, size), fill=_INK)
    if side_px < LARGE_PX:
        return
    lines = [*([(tile.faint, _FAINT)] if tile.faint else []), *((line, _FLAG) for line in _remark(tile))]
    for number, (text, colour) in enumerate(lines, start=1):
        _text(draw, (left, top + number * _LINE_PX), text, 14, colour, side_px)


def _end_of(name: str, width_px: int, font: Font) -> str:
    """A name, or as much of its end as fits: numbers stand there."""
    if font.getlength(name) <= width_px:
        return name

    def room(dropped: int) -> int:
        return width_px - math.ceil(font.getlength(f"…{name[dropped:]}"))

    return f"…{name[bisect.bisect_left(range(len(name)), 0, lo=1, key=room) :]}"


def _remark(tile: Tile) -> list[str]:
    """The remark in lines; what does not fit ends in an ellipsis."""
    if not tile.remark:
        return []
    font = _font(tile.remark, 14)
    lines = wrapped(tile.remark, LARGE_PX, font)
    if len(lines) <= _MOST_LINES:
        return lines
    return [*lines[: _MOST_LINES - 1], shortened(" ".join(lines[_MOST_LINES - 1 :]), LARGE_PX, font)]


def _text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: str, width_px: int) -> None:
    font = _font(text, size)
    draw.text(at, shortened(_simpler(text), width_px, font), font=font, fill=colour)


def _font(text: str, size: int) -> Font:
    """Pillow's own font, or one of the system's for letters that it lacks, if there is one."""
    return (None if _simpler(text).isascii() else _system_font(size)) or _own_font(size)


def _simpler(text: str) -> str:
    """Without the few signs of our own messages that the font lacks."""
    return text.translate(_SIMPLER)


@functools.cache
def _own_font(size: int) -> Font:
    return ImageFont.load_default(size=size)


@functools.cache
def _system_font(size: int) -> Font | None:
    for name in _SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


def sheet_files(store: Store, manifest: Manifest, plan: ShotPlan, title: str) -> dict[str, bytes]:
    """Both sheets as PNGs, by their names in a folder of pictures."""
    sheets = {SHEET_NAME: accepted_sheet(store, manifest, plan, title)}
    if (left_out := left_out_sheet(store, manifest, title)) is not None:
        sheets[LEFT_OUT_SHEET_NAME] = left_out
    return {name: png_bytes(picture) for name, picture in sheets.items()}


def accepted_sheet(store: Store, manifest: Manifest, plan: ShotPlan, title: str) -> Image.Image:
    """The pictures of a set by composition, each with its views and with what a person should look at.

    Raises:
        ValueError: the set is empty.
    """
    pictures = in_parallel(lambda entry: thumbnail(store, entry.image), manifest.entries)
    tiles = {
        entry.name: Tile(picture, entry.name, _views(entry), "; ".join(entry.flag_texts))
        for entry, picture in zip(manifest.entries, pictures, strict=True)
    }
    groups = []
    for composition in (*COMPOSITIONS, None):
        own = tuple(tiles[entry.name] for entry in manifest.entries if entry.composition == composition)
        planned = f" ({plan.count(composition)} planned)" if composition else ""
        heading = f"{_words(composition or 'composition unknown')}: {len(own)}{planned}"
        groups.append(Group(heading, own))
    flagged = sum(bool(entry.flags) for entry in manifest.entries)
    look = f", {flagged} to look at" if flagged else ""
    return sheet(f"{title}: {_counted(len(tiles))}{look}", groups)


def left_out_sheet(store: Store, manifest: Manifest, title: str) -> Image.Image | None:
    """What was left out and may be missed, each with the reason; None if there is nothing of the kind.

    System files, captions and the like are not shown; the report names them.
    """
    missed = [one for one in manifest.rejected if one.image or not one.harmless]
    if not missed:
        return None
    pictures = in_parallel(lambda one: thumbnail(store, one.image) if one.image else None, missed)
    tiles = tuple(
        Tile(picture, PurePath(one.source).name, remark=one.reason)
        for one, picture in zip(missed, pictures, strict=True)
    )
    return sheet(f"{title}: {_counted(len(tiles))} left out", [Group("", tiles)])


def _counted(number: int) -> str:
    return "1 picture" if number == 1 else f"{number} pictures"


def _words(tag: str) -> str:
    return tag.replace("_", " ")


def _views(entry: Entry) -> str:
    return ", ".join(map(_words, seen_from(entry))) if entry.view is not None else ""
