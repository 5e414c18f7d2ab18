"""What stands behind the character."""

import random
from collections.abc import Callable
from typing import Final

from PIL import Image, ImageDraw, ImageFilter

from demo.world.palette import Rgb, mix
from demo.world.scene import Background, Scene
from demo.world.tags import Look

_OVERSAMPLING: Final = 2
Pen = ImageDraw.ImageDraw


def background(scene: Scene, look: Look, size_px: int) -> Image.Image:
    """Returns the RGB picture behind the character; out of focus in the solid look."""
    side = size_px * _OVERSAMPLING
    picture = Image.new("RGB", (side, side), (255, 255, 255))
    rng = random.Random(scene.seed)
    painter = _PAINTERS.get(scene.background)
    if painter is not None:
        painter(ImageDraw.Draw(picture), side, rng)
        if look == "solid":
            picture = picture.filter(ImageFilter.GaussianBlur(side / 90))
    return picture.reduce(_OVERSAMPLING)


def _bands(pen: Pen, side: int, top: Rgb, bottom: Rgb, count: int, until: float = 1.0) -> None:
    for k in range(count):
        y = side * until * k / count
        pen.rectangle((0, y, side, side * until * (k + 1) / count + 1), fill=mix(top, bottom, k / max(1, count - 1)))


def _sky(pen: Pen, side: int, rng: random.Random) -> None:
    _bands(pen, side, (86, 170, 246), (186, 228, 254), 12)
    for _ in range(rng.randint(3, 5)):
        x, y, r = rng.uniform(0, 1), rng.uniform(0.05, 0.9), rng.uniform(0.06, 0.1)
        for dx, dy, s in ((-1.2, 0.2, 0.7), (0, 0, 1), (1.1, 0.2, 0.75), (2.0, 0.4, 0.5)):
            cx, cy, cr = (x + dx * r) * side, (y + dy * r) * side, s * r * side
            pen.ellipse((cx - cr, cy - cr * 0.75, cx + cr, cy + cr * 0.75), fill=(255, 255, 255))


def _grass(pen: Pen, side: int, rng: random.Random) -> None:
    _bands(pen, side, (150, 212, 250), (220, 242, 254), 8, until=0.55)
    horizon = rng.uniform(0.48, 0.58) * side
    pen.rectangle((0, horizon, side, side), fill=(112, 198, 84))
    for _ in range(14):
        x, y = rng.uniform(0, side), rng.uniform(horizon, side)
        h, w = side * rng.uniform(0.07, 0.1), side * 0.02
        for lean in (-1, 0, 1):
            pen.polygon([(x - w, y), (x + w, y), (x + lean * w * 2.4, y - h)], fill=(74, 162, 62))


def _night(pen: Pen, side: int, rng: random.Random) -> None:
    _bands(pen, side, (18, 18, 56), (58, 46, 116), 12)
    for _ in range(16):
        x, y, r = rng.uniform(0, side), rng.uniform(0, side), side * rng.uniform(0.012, 0.02)
        pen.polygon(
            [
                (x, y - 2 * r),
                (x + 0.5 * r, y - 0.5 * r),
                (x + 2 * r, y),
                (x + 0.5 * r, y + 0.5 * r),
                (x, y + 2 * r),
                (x - 0.5 * r, y + 0.5 * r),
                (x - 2 * r, y),
                (x - 0.5 * r, y - 0.5 * r),
            ],
            fill=(255, 246, 190),
        )
    x, y, r = rng.choice((0.13, 0.87)) * side, 0.13 * side, 0.085 * side
    pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 236, 150))
    pen.ellipse((x - 0.3 * r, y - 1.15 * r, x + 1.5 * r, y + 0.65 * r), fill=(22, 21, 62))


def _indoors(pen: Pen, side: int, rng: random.Random) -> None:
    pen.rectangle((0, 0, side, side), fill=(250, 226, 190))
    for k in range(9):
        pen.rectangle((side * k / 8 - side * 0.02, 0, side * k / 8 + side * 0.02, side), fill=(242, 210, 168))
    floor = rng.uniform(0.78, 0.86) * side
    pen.rectangle((0, floor, side, side), fill=(172, 112, 66))
    pen.rectangle((0, floor - side * 0.025, side, floor), fill=(120, 74, 44))
    x, y, w = rng.choice((0.06, 0.64)) * side, 0.1 * side, 0.3 * side
    pen.rectangle((x, y, x + w, y + w * 1.15), fill=(128, 80, 48))
    inset = side * 0.022
    pen.rectangle((x + inset, y + inset, x + w - inset, y + w * 1.15 - inset), fill=(150, 210, 250))
    pen.rectangle((x + w / 2 - inset / 2, y, x + w / 2 + inset / 2, y + w * 1.15), fill=(128, 80, 48))
    pen.rectangle((x, y + w * 0.56, x + w, y + w * 0.56 + inset), fill=(128, 80, 48))


def _flowers(pen: Pen, side: int, rng: random.Random) -> None:
    pen.rectangle((0, 0, side, side), fill=(206, 238, 186))
    step = side / 4
    for row in range(5):
        for column in range(5):
            x = (column + 0.5 * (row % 2)) * step + rng.uniform(-0.12, 0.12) * step
            y = row * step + rng.uniform(-0.12, 0.12) * step
            _blossom(
                pen, x, y, step * 0.3, rng.choice(((252, 130, 160), (255, 255, 255), (196, 140, 236), (250, 110, 96)))
            )


def _blossom(pen: Pen, x: float, y: float, r: float, colour: Rgb) -> None:
    for dx, dy in ((0, -1), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31)):
        cx, cy = x + dx * r * 0.8, y + dy * r * 0.8
        pen.ellipse((cx - r * 0.62, cy - r * 0.62, cx + r * 0.62, cy + r * 0.62), fill=colour)
    pen.ellipse((x - r * 0.45, y - r * 0.45, x + r * 0.45, y + r * 0.45), fill=(252, 200, 60))


_PAINTERS: Final[dict[Background, Callable[[Pen, int, random.Random], None]]] = {
    "sky": _sky,
    "grass": _grass,
    "night": _night,
    "indoors": _indoors,
    "flowers": _flowers,
}
