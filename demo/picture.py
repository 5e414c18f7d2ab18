"""README's picture from a finished demo: `python -m demo.picture [OUT] [PICTURE]`.

Screenshots, and below them the same prompts and seeds with a plain LoRA of these screenshots, which is trained for it
(and found the next time), and with the demo's.
"""

import argparse
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFont

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from demo.proof.arms import overlaid, read_arm
from flows.ending import run_by_command
from flows.graph import make_lora
from lora_core.recipe_file import anchored, parse_recipe
from lora_core.sampling.samples import load_samples
from tasks.runtime import RunContext

_CELL_PX: Final = 168
_GAP_PX: Final = 6
_TITLE_PX: Final = 30
_SCREENSHOTS: Final = (
    "upper_body_004",
    "portrait_002",
    "cowboy_shot_001",
    "upper_body_012",
    "portrait_007",
    "upper_body_001",
)
_TITLES: Final = (
    "in: screenshots of a 3D creator",
    "a plain LoRA of them brings the 3D look along",
    "headcanon's LoRA: the same prompts, seeds and base model",
)


def main() -> None:
    """Train the plain LoRA and compose the picture."""
    parser = argparse.ArgumentParser(prog="python -m demo.picture", description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=Path("out"), help="what the demo was run with")
    parser.add_argument("picture", type=Path, nargs="?", default=Path("docs/demo.png"))
    options = parser.parse_args()
    folder = options.out / "demo"
    screenshots = [_on_white(folder / "character" / f"{name}.png") for name in _SCREENSHOTS]
    choice = json.loads((options.out / "momo" / "report.json").read_text())["verdict"]["choice"]
    chosen = options.out / "momo" / "samples" / f"{choice['epoch']}-w{choice['weight']:g}"
    ours = [Image.open(chosen / f"{number}-1.png") for number in range(len(_SCREENSHOTS))]
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    sheet = compose((screenshots, plain(folder / "recipe.toml", len(ours)), ours))
    sheet.quantize(256).save(options.picture, optimize=True)


def plain(recipe_file: Path, count: int) -> list[Image.Image]:
    """What a plain LoRA draws of the recipe's first prompts, with the first seed: its last epoch, at weight 1."""
    table = tomllib.loads(recipe_file.read_text("utf-8"))
    table = overlaid(table, {"name": "momo-plain", "redraw": {"use": False}}, read_arm("naive").table)
    recipe = anchored(parse_recipe({**table, "method": "naive"}, "the plain LoRA"), recipe_file.parent)
    at = RunContext.of(recipe)
    with run_by_command():
        made = make_lora(recipe, at, "sample")
    samples = load_samples(at.open_store(), made.samples)
    last = [
        one for one in samples.of(samples.lora_files[-1][0]) if one.weight == 1 and one.seed == recipe.sampling.seeds[0]
    ]
    return [Image.open(at.open_store().path(one.image)) for one in last[:count]]


def compose(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Rows of square pictures, a title above each."""
    step, height = _CELL_PX + _GAP_PX, _CELL_PX + _TITLE_PX + _GAP_PX
    sheet = Image.new("RGB", (len(rows[0]) * step - _GAP_PX, len(rows) * height), "#ffffff")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for number, (title, row) in enumerate(zip(_TITLES, rows, strict=True)):
        draw.text((0, number * height + 4), title, font=font, fill="#333333")
        for column, picture in enumerate(row):
            cell = picture.convert("RGB").resize((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
            sheet.paste(cell, (column * step, number * height + _TITLE_PX))
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
