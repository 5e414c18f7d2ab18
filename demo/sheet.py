"""Draws a contact sheet of the world: `python -m demo.sheet OUT.png`."""

import argparse
import random
from pathlib import Path

from PIL import Image

from demo.world.character import STYLE, TARGET, Character
from demo.world.draw import draw
from demo.world.scene import Scene
from demo.world.solid import Finish
from demo.world.tags import Look

_GAP_PX = 2


def tile(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Returns the pictures, all of one size, side by side on grey."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new(
        "RGB", (columns * (width + _GAP_PX) + _GAP_PX, rows * (height + _GAP_PX) + _GAP_PX), (128, 128, 128)
    )
    for k, picture in enumerate(pictures):
        sheet.paste(picture, (_GAP_PX + k % columns * (width + _GAP_PX), _GAP_PX + k // columns * (height + _GAP_PX)))
    return sheet


def world_sheet(columns: int = 8, rows: int = 8, size_px: int = 128, seed: int = 7) -> Image.Image:
    """Returns the world at a glance: upper half flat, lower half solid; the named characters lead each half."""
    rng = random.Random(seed)
    pictures = []
    for k in range(columns * rows):
        row, column = divmod(k, columns)
        named = {0: TARGET, 1: STYLE}.get(column) if row % (rows // 2) == 0 else None
        character = named or Character.random(rng)
        look: Look = "flat" if row < rows // 2 else "solid"
        pictures.append(draw(character, Scene.random(rng), look, size_px, Finish.random(rng)))
    return tile(pictures, columns)


def main() -> None:
    """Writes the sheet to the path on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="PNG to write")
    world_sheet().save(parser.parse_args().out)


if __name__ == "__main__":
    main()
