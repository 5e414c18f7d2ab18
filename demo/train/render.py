"""Draws the training pictures: shards of pixels with their tags and the place of the face."""

import json
import logging
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from demo.train.loop import replace_file
from demo.world.character import Character
from demo.world.draw import draw
from demo.world.figure import square_frame
from demo.world.scene import Scene
from demo.world.solid import Finish
from demo.world.tags import Look, picture_tags

LOG = logging.getLogger(__name__)

SHARD: Final = 2000
FULL_PX: Final = 128
SMALL_PX: Final = 96
_SOLID_SHARE: Final = 0.4
_SEED: Final = 20_000_000


@dataclass(frozen=True)
class Pictures:
    """Drawn pictures of one size.

    Attributes:
        pixels: (N, side, side, 3) uint8, RGB.
        tags: canonical tags of each picture.
        faces: (N, 3) centre x, centre y and radius of the head in pixels.
    """

    pixels: NDArray[np.uint8]
    tags: tuple[tuple[str, ...], ...]
    faces: NDArray[np.float32]


def render(work: Path, full: int = 30_000, small: int = 6_000, workers: int = 2) -> None:
    """Draws what is missing of the training pictures into `work/pictures`."""
    folder = work / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, FULL_PX, k) for k in range(full // SHARD)] + [(folder, SMALL_PX, k) for k in range(small // SHARD)]
    missing = [job for job in jobs if not _path(*job).exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, path in enumerate(pool.map(_draw_shard, missing), start=1):
            LOG.info("render %d/%d %s", done, len(missing), path.name)


def load_pictures(work: Path, size_px: int, limit: int | None = None) -> Pictures:
    """Returns the drawn pictures of one size, in order."""
    paths = sorted((work / "pictures").glob(f"{size_px}-*.npy"))[: None if limit is None else -(-limit // SHARD)]
    sides = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
    return Pictures(
        np.concatenate([np.load(path) for path in paths]),
        tuple(tuple(tags) for side in sides for tags in side["tags"]),
        np.array([face for side in sides for face in side["faces"]], np.float32),
    )


def _path(folder: Path, size_px: int, shard: int) -> Path:
    return folder / f"{size_px}-{shard:03d}.npy"


def _draw_shard(job: tuple[Path, int, int]) -> Path:
    folder, size_px, shard = job
    pixels = np.empty((SHARD, size_px, size_px, 3), np.uint8)
    tags: list[Sequence[str]] = []
    faces: list[tuple[float, float, float]] = []
    for k in range(SHARD):
        rng = random.Random(_SEED + size_px * 1_000_000 + shard * SHARD + k)
        look: Look = "solid" if rng.random() < _SOLID_SHARE else "flat"
        character, scene = Character.random(rng), Scene.random(rng)
        pixels[k] = np.asarray(draw(character, scene, look, size_px, Finish.random(rng)))
        tags.append(picture_tags(character, scene, look))
        frame = square_frame(scene, size_px)
        faces.append(
            (
                frame.offset_x_px + 0.2 * scene.yaw * frame.unit_px,
                frame.offset_y_px + 0.15 * frame.unit_px,
                0.95 * frame.unit_px,
            )
        )
    path = _path(folder, size_px, shard)
    path.with_suffix(".json").write_text(json.dumps({"tags": tags, "faces": faces}))
    replace_file(path, lambda temporary: np.save(temporary, pixels))
    return path
