"""README's picture from a finished demo: `python -m demo.picture [OUT] [PICTURE]`."""

import argparse
import json
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFont

_CELL_PX: Final = 192
_GAP_PX: Final = 8
_ARROW_PX: Final = 72
_TITLE_PX: Final = 34
_SCREENSHOTS: Final = ("portrait_002.png", "upper_body_004.png", "cowboy_shot_001.png", "upper_body_012.png")


def main() -> None:
    """Screenshots on the left, the chosen epoch's samples on the right."""
    parser = argparse.ArgumentParser(prog="python -m demo.picture", description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=Path("out"), help="what the demo was run with")
    parser.add_argument("picture", type=Path, nargs="?", default=Path("docs/demo.png"))
    options = parser.parse_args()
    before = [_on_white(options.out / "demo" / "character" / name) for name in _SCREENSHOTS]
    choice = json.loads((options.out / "momo" / "report.json").read_text())["verdict"]["choice"]
    chosen = f"{choice['epoch']}-w{choice['weight']:g}"
    samples = sorted((options.out / "momo" / "samples" / chosen).glob("*.png"))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    compose(before, [Image.open(path) for path in samples[:6]]).save(options.picture, optimize=True)


def compose(before: list[Image.Image], after: list[Image.Image]) -> Image.Image:
    """Two blocks of two rows with an arrow between them.

    Args:
        before: 4 square pictures.
        after: 6 square pictures.
    """
    step = _CELL_PX + _GAP_PX
    left, right = 2 * step, 3 * step
    sheet = Image.new("RGB", (left + _ARROW_PX + right - _GAP_PX, _TITLE_PX + 2 * step - _GAP_PX), "#ffffff")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=18)
    draw.text((0, 4), "in: screenshots of a 3D creator", font=font, fill="#333333")
    draw.text((left + _ARROW_PX, 4), "out: the base model with the LoRA", font=font, fill="#333333")
    for block, columns, start in ((before, 2, 0), (after, 3, left + _ARROW_PX)):
        for number, picture in enumerate(block):
            cell = picture.convert("RGB").resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
            sheet.paste(cell, (start + number % columns * step, _TITLE_PX + number // columns * step))
    middle, x = _TITLE_PX + step - _GAP_PX // 2, left + 8
    draw.line((x, middle, x + 36, middle), fill="#b0305c", width=8)
    draw.polygon([(x + 34, middle - 14), (x + 56, middle), (x + 34, middle + 14)], fill="#b0305c")
    return sheet


def _on_white(path: Path) -> Image.Image:
    """A premultiplied screenshot over white, its middle square."""
    with Image.open(path) as picture:
        alpha = picture.getchannel("A")
        white = Image.new("RGB", picture.size, "#ffffff")
        white.paste("#000000", mask=alpha)  # what is behind the character goes black, then its light is added
        added = Image.merge("RGB", picture.split()[:3])
    width, height = white.size
    box = ((width - height) // 2, 0, (width + height) // 2, height)
    return ImageChops.add(white, added).crop(box)


if __name__ == "__main__":
    main()
