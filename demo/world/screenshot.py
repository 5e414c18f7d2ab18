"""The 38 screenshots of the note's plan, as a 3D creator would save them."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

import numpy as np
from PIL import Image

from demo.world.character import Character, ClothesColor
from demo.world.figure import Frame, figure
from demo.world.scene import Composition, Expression, Scene
from demo.world.solid import FINISHES, Finish, paint_solid
from demo.world.tags import picture_tags

SIZE_PX: Final = (1920, 1080)
PLAN: Final[dict[Composition, int]] = {"close-up": 1, "portrait": 11, "upper_body": 18, "cowboy_shot": 8}
# Whole head and hair stay in the picture: only the lower edge cuts. (top, bottom) in head units.
_WINDOWS: Final[dict[Composition, tuple[float, float]]] = {
    "close-up": (-1.68, 1.06),
    "portrait": (-1.75, 1.4),
    "upper_body": (-1.8, 1.98),
    "cowboy_shot": (-1.9, 2.9),
}
# Shading runs on a smaller grid and is enlarged: four times as fast, and hard to tell apart.
_SHRINK: Final = 2
_YAWS: Final = (0.0, 0.45, -0.45, 0.15, -0.15, 0.65, -0.65, 0.0, 0.3, -0.3)
_CLOTHES_KEPT: Final = 0.6


def screenshots(
    character: Character,
    out_dir: Path,
    seed: int = 0,
    plan: Mapping[Composition, int] = PLAN,
    finish: Finish = FINISHES["studio"],
) -> list[Path]:
    """Writes the plan's RGBA PNGs, 1920×1080, with premultiplied alpha, and returns their paths in order.

    Args:
        character: who poses; clothes and expression change a little from picture to picture.
        out_dir: folder to write into, made if missing.
        seed: the same seed gives the same files.
        plan: how many pictures of each composition; the note's 38 unless told.
        finish: light and gloss of the 3D creator that took them.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    paths = []
    for composition, count in plan.items():
        for k in range(count):
            path = out_dir / f"{composition}_{k + 1:03d}.png"
            pose = _pose(composition, k, rng)
            premultiplied(_render(_dressed(character, rng), pose, finish)).save(path, compress_level=2)
            paths.append(path)
    return paths


def screenshot_tags(
    character: Character, seed: int = 0, plan: Mapping[Composition, int] = PLAN
) -> dict[str, tuple[str, ...]]:
    """Returns the true tags of every screenshot by file name, without drawing any."""
    rng = random.Random(seed)
    tags = {}
    for composition, count in plan.items():
        for k in range(count):
            pose = _pose(composition, k, rng)
            tags[f"{composition}_{k + 1:03d}.png"] = picture_tags(_dressed(character, rng), pose, "solid")
    return tags


def premultiplied(picture: Image.Image) -> Image.Image:
    """Returns an RGBA picture whose colours are multiplied by alpha, so that no channel exceeds it."""
    values = np.asarray(picture, np.uint16)
    colours = (values[..., :3] * values[..., 3:] + 127) // 255
    return Image.fromarray(np.concatenate([colours, values[..., 3:]], axis=2).astype(np.uint8), "RGBA")


def _pose(composition: Composition, k: int, rng: random.Random) -> Scene:
    expressions = get_args(Expression)
    return Scene(
        composition=composition,
        expression=expressions[(k + rng.randrange(2)) % len(expressions)],
        yaw=_YAWS[k % len(_YAWS)] + rng.uniform(-0.05, 0.05),
        pitch=(0.0, 0.0, 0.8, 0.0, -0.8)[k % 5] + rng.uniform(-0.1, 0.1),
        tilt=rng.uniform(-0.1, 0.1),
    )


def _dressed(character: Character, rng: random.Random) -> Character:
    color = rng.choice(get_args(ClothesColor))
    return character if rng.random() < _CLOTHES_KEPT else character.wearing(character.garment, color)


def _render(character: Character, scene: Scene, finish: Finish) -> Image.Image:
    top, bottom = _WINDOWS[scene.composition]
    width, height = SIZE_PX[0] // _SHRINK, SIZE_PX[1] // _SHRINK
    unit_px = height / (bottom - top)
    frame = Frame(width, height, unit_px, width / 2, height - bottom * unit_px)
    picture = paint_solid(figure(character, scene, "solid"), frame, finish, oversampling=1)
    return picture.resize(SIZE_PX, Image.Resampling.BICUBIC)
