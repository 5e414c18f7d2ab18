"""Contact sheets: places, sizes, labels."""

import pytest
from PIL import Image

from lora_core.sampling.grid import Cell, contact_grid

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def cell(row: int, column: int, colour: tuple[int, int, int], size: tuple[int, int] = (100, 100)) -> Cell:
    return Cell(row, column, Image.new("RGB", size, colour))


def test_pictures_stand_in_their_row_and_column() -> None:
    grid = contact_grid([("a", "seed 1"), ("b", "")], ["none", "1"], [cell(0, 0, RED), cell(1, 1, BLUE)], "title")
    assert grid.getpixel((230 + 50, 94 + 50)) == RED
    assert grid.getpixel((230 + 106 + 50, 94 + 106 + 50)) == BLUE
    assert grid.getpixel((0, 0)) == WHITE
    assert grid.size == (20 + 210 + 206 + 20, 94 + 206 + 20)


def test_a_wide_grid_is_reduced_to_2400_px() -> None:
    cells = [cell(0, column, RED, (512, 768)) for column in range(12)]
    grid = contact_grid([("a", "")], [f"epoch {n}" for n in range(12)], cells, "")
    assert 2200 < grid.width <= 2400


def test_small_pictures_are_not_enlarged() -> None:
    grid = contact_grid([("a", "")], ["1"], [cell(0, 0, RED, (40, 40))], "")
    assert grid.width == 20 + 210 + 40 + 20


def test_labels_leave_ink() -> None:
    bare, labelled = (
        contact_grid([(text, text)], [text], [cell(0, 0, WHITE)], text) for text in ("", "a long prompt, with commas")
    )
    assert bare.size == labelled.size
    assert sum(labelled.convert("L").histogram()[:100]) > sum(bare.convert("L").histogram()[:100]) + 200


def test_a_word_wider_than_its_place_is_cut() -> None:
    grid = contact_grid([("x" * 500, "")], ["y" * 500], [cell(0, 0, WHITE)], "z" * 500)
    right_of_labels = grid.crop((20 + 200, 94, 20 + 210, 194))
    assert right_of_labels.getcolors() == [(1000, WHITE)]


def test_a_grid_without_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="needs"):
        contact_grid([("a", "")], ["1"], [], "")
