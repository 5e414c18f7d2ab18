"""Labelled contact sheets: rows are prompts and seeds, columns are epochs."""

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_LARGEST_WIDTH_PX = 2400
_LARGEST_CELL_PX = 512
_SMALLEST_CELL_PX = 96
_GAP_PX = 6
_MARGIN_PX = 20
_INK = "#1c1d22"
_FAINT = "#6b6f7a"
_EMPTY = "#eceef2"
_PAPER = "#ffffff"


@dataclass(frozen=True)
class Cell:
    """A picture and its place in the grid, both counted from 0."""

    row: int
    column: int
    picture: Image.Image


@dataclass(frozen=True)
class _Layout:
    cell_width: int
    cell_height: int
    labels_width: int
    header_height: int

    def corner(self, row: int, column: int) -> tuple[int, int]:
        return (
            _MARGIN_PX + self.labels_width + column * (self.cell_width + _GAP_PX),
            self.header_height + row * (self.cell_height + _GAP_PX),
        )


def contact_grid(
    rows: Sequence[tuple[str, str]], columns: Sequence[str], cells: Iterable[Cell], title: str
) -> Image.Image:
    """One picture of all pictures on white: at most 2,400 px wide, unless that left less than 96 px a cell.

    Args:
        rows: (text, small text) of every row: a prompt and its seed.
        columns: The heading of every column.
        cells: The pictures, of any sizes; larger ones are reduced, none is enlarged, a place without one stays grey.
        title: Stands above everything.

    Raises:
        ValueError: there is no row, no column or no picture.
    """
    placed = list(cells)
    if not rows or not columns or not placed:
        raise ValueError("a grid needs a row, a column and a picture")
    layout = _layout(len(columns), placed)
    width, height = layout.corner(len(rows), len(columns))
    sheet = Image.new("RGB", (width - _GAP_PX + _MARGIN_PX, height - _GAP_PX + _MARGIN_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (_MARGIN_PX, 14), shortened(title, sheet.width - 2 * _MARGIN_PX, _font(26)), 26, _INK)
    for number, heading in enumerate(columns):
        left, top = layout.corner(0, number)
        size = 20 if layout.cell_width >= 110 else 15
        _text(draw, (left, top - size - 9), shortened(heading, layout.cell_width, _font(size)), size, _INK)
    for number, (text, small) in enumerate(rows):
        _row_label(draw, layout, number, text, small)
        for column in range(len(columns)):
            left, top = layout.corner(number, column)
            draw.rectangle((left, top, left + layout.cell_width - 1, top + layout.cell_height - 1), fill=_EMPTY)
    for cell in placed:
        _paste(sheet, layout, cell)
    return sheet


def _layout(columns: int, cells: Sequence[Cell]) -> _Layout:
    """All cells have the shape of the largest picture and share what the labels leave of the width."""
    labels_width = 210
    widest = max(cell.picture.width for cell in cells)
    tallest = max(cell.picture.height for cell in cells)
    room = (_LARGEST_WIDTH_PX - 2 * _MARGIN_PX - labels_width) // columns - _GAP_PX
    largest = max(_SMALLEST_CELL_PX, min(room, _LARGEST_CELL_PX))
    factor = min(1.0, largest / widest, _LARGEST_CELL_PX / tallest)
    return _Layout(
        cell_width=max(1, round(widest * factor)),
        cell_height=max(1, round(tallest * factor)),
        labels_width=labels_width,
        header_height=94,
    )


def _row_label(draw: ImageDraw.ImageDraw, layout: _Layout, row: int, text: str, small: str) -> None:
    top = layout.corner(row, 0)[1]
    font, room = _font(16), layout.labels_width - 14
    lines = wrapped(text, room, font)
    kept = max(1, (layout.cell_height - 26) // 20)
    if len(lines) > kept:
        lines = [*lines[: kept - 1], shortened(" ".join(lines[kept - 1 :]), room, font)]
    for number, line in enumerate(lines):
        _text(draw, (_MARGIN_PX, top + number * 20), line, 16, _INK)
    _text(draw, (_MARGIN_PX, top + len(lines) * 20 + 4), small, 15, _FAINT)


def _paste(sheet: Image.Image, layout: _Layout, cell: Cell) -> None:
    picture = cell.picture.convert("RGB")
    picture.thumbnail((layout.cell_width, layout.cell_height), Image.Resampling.LANCZOS)
    left, top = layout.corner(cell.row, cell.column)
    sheet.paste(
        picture, (left + (layout.cell_width - picture.width) // 2, top + (layout.cell_height - picture.height) // 2)
    )


def _font(size: int) -> Font:
    return ImageFont.load_default(size=size)


def _text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, fill: str) -> None:
    draw.text(at, text, font=_font(size), fill=fill)


def wrapped(text: str, width_px: int, font: Font) -> list[str]:
    """The text in lines that fit, broken at spaces; a longer word is cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(shortened(word, width_px, font))
    return lines or [""]


def shortened(text: str, width_px: int, font: Font) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    if font.getlength(text) <= width_px:
        return text

    def width(letters: int) -> int:
        return math.ceil(font.getlength(text[:letters] + "…"))

    kept = bisect.bisect_right(range(1, len(text)), width_px, key=width)
    return text[:kept].rstrip(" ,") + "…"
