"""The solid look: the same shapes inflated, lit and shadowed, as a 3D creator would render them.

Deferred shading: every shape leaves colour, slope and gloss in a buffer; one pass at the end lights them all.
"""

import random
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from pydantic import BaseModel, ConfigDict, Field

from demo.world.figure import Frame
from demo.world.shape import Shape

Plane = NDArray[np.float32]  # (H, W)

_OVERSAMPLING: Final = 2
_MARGIN: Final = 3
_HEIGHT: Final = 0.62


class Finish(BaseModel):
    """How a 3D creator lights and finishes its figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    light: float = Field(
        default=-0.7, ge=-2.6, le=2.6, description="Where the lamp stands: 0 straight above, positive to the right."
    )
    contrast: float = Field(
        default=0.65, ge=0.3, le=1.0, description="Share of the lamp in the light; the rest is ambient."
    )
    gloss: float = Field(default=1.0, ge=0.0, le=2.0, description="Strength of highlights.")
    warmth: float = Field(default=0.0, ge=-1.0, le=1.0, description="Colour of the lamp: 1 evening sun, -1 moonlight.")

    @classmethod
    def random(cls, rng: random.Random) -> "Finish":
        """Returns one of the many looks that 3D creators have."""
        return cls(
            light=rng.uniform(-1.2, 1.2),
            contrast=rng.uniform(0.5, 0.78),
            gloss=rng.uniform(0.3, 1.5),
            warmth=rng.uniform(-0.5, 0.5),
        )


FINISHES: Final[dict[str, Finish]] = {
    "studio": Finish(),
    "plastic": Finish(light=0.8, contrast=0.8, gloss=1.5),
    "soft": Finish(light=0.2, contrast=0.5, gloss=0.35, warmth=0.2),
    "evening": Finish(light=1.1, contrast=0.75, gloss=0.9, warmth=0.5),
}
"""Named 3D looks, from different creators and lights."""


@dataclass(frozen=True)
class _Buffers:
    """What is visible at every pixel before it is lit."""

    colour: NDArray[np.float32]  # (H, W, 3) in 0..1
    slope_x: Plane
    slope_y: Plane
    gloss: Plane
    light: Plane  # 1 open, 0 fully shadowed
    cover: Plane  # 0..1


def paint_solid(
    shapes: list[Shape], frame: Frame, finish: Finish = FINISHES["studio"], oversampling: int = _OVERSAMPLING
) -> Image.Image:
    """Returns the shapes as an RGBA picture of the frame's size, straight alpha."""
    fine = frame.scaled(oversampling)
    size = (fine.height_px, fine.width_px)
    zeros = [np.zeros(size, np.float32) for _ in range(5)]
    buffers = _Buffers(
        np.zeros((*size, 3), np.float32), zeros[0], zeros[1], zeros[2], np.ones(size, np.float32), zeros[3]
    )
    for shape in shapes:
        _add(shape, fine, buffers)
    rgba = np.concatenate([_lit(buffers, finish), buffers.cover[..., None]], axis=2)
    picture = Image.fromarray((rgba * 255 + 0.5).astype(np.uint8), "RGBA")
    return picture.reduce(oversampling) if oversampling > 1 else picture


def _add(shape: Shape, frame: Frame, into: _Buffers) -> None:
    points = shape.points * frame.unit_px + np.array([frame.offset_x_px, frame.offset_y_px])
    reach = _MARGIN + int((0.2 if shape.shadow else 0.0) * frame.unit_px)
    left, top = np.maximum(np.floor(points.min(0)).astype(int) - reach, 0)
    right = min(int(points[:, 0].max()) + reach + 1, frame.width_px)
    bottom = min(int(points[:, 1].max()) + reach + 1, frame.height_px)
    if right - left < 2 or bottom - top < 2:
        return
    mask_picture = _mask(points - (left, top), (right - left, bottom - top))
    mask = np.asarray(mask_picture, np.float32) / 255
    box = (slice(top, bottom), slice(left, right))
    if shape.shadow:
        _drop_shadow(shape, mask_picture, frame.unit_px, into, box)
    weight = mask * shape.opacity
    into.colour[box] += (np.array(shape.fill, np.float32) / 255 - into.colour[box]) * weight[..., None]
    into.cover[box] = np.maximum(into.cover[box], mask)
    if shape.round == 0:
        return
    slope_x, slope_y = _slopes(shape, mask_picture, frame, int(left), int(top))
    for plane, value in (
        (into.slope_x, slope_x),
        (into.slope_y, slope_y),
        (into.gloss, shape.gloss),
        (into.light, 1.0),
    ):
        plane[box] += (value - plane[box]) * mask


def _mask(points: NDArray[np.float64], size: tuple[int, int]) -> Image.Image:
    fine = Image.new("L", (size[0] * 2, size[1] * 2))
    ImageDraw.Draw(fine).polygon([(x * 2, y * 2) for x, y in points.tolist()], fill=255)
    return fine.reduce(2)


def _drop_shadow(shape: Shape, mask: Image.Image, unit_px: float, into: _Buffers, box: tuple[slice, slice]) -> None:
    soft = np.asarray(mask.filter(ImageFilter.BoxBlur(0.07 * unit_px)), np.float32) / 255
    down, right = max(1, int(0.09 * unit_px)), max(1, int(0.04 * unit_px))
    shifted = np.zeros_like(soft)
    shifted[down:, right:] = soft[:-down, :-right]
    into.light[box] *= 1 - shape.shadow * shifted


def _slopes(shape: Shape, mask: Image.Image, frame: Frame, left: int, top: int) -> tuple[Plane, Plane]:
    """Returns the surface's slope to the right and downwards: rounded rim, ellipsoid and grooves."""
    radius_px = shape.round * frame.unit_px
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(radius_px)), np.float32) / 255
    slope_x: Plane = np.asarray(np.gradient(soft, axis=1), np.float32) * (-3.6 * radius_px)
    slope_y: Plane = np.asarray(np.gradient(soft, axis=0), np.float32) * (-3.6 * radius_px)
    height, width = soft.shape
    x = ((np.arange(width, dtype=np.float32) + left - frame.offset_x_px) / frame.unit_px)[None, :]
    y = ((np.arange(height, dtype=np.float32) + top - frame.offset_y_px) / frame.unit_px)[:, None]
    if shape.dome is not None:
        cx, cy, half_width, half_height = shape.dome
        dx, dy = (x - cx) / half_width, (y - cy) / half_height
        depth = np.sqrt(np.clip(1 - dx * dx - dy * dy, 0.12, 1))
        slope_x, slope_y = slope_x + 0.8 * dx / depth, slope_y + 0.8 * dy / depth
    if shape.strands:
        # Locks run down from the crown, so the grooves bend with the distance from the head's middle.
        across = x * (1.6 - 0.25 * np.abs(y))
        slope_x = slope_x + shape.strands * (0.3 * np.sin(across * 15) + 0.2 * np.sin(across * 31 + y * 2))
    return slope_x.astype(np.float32), slope_y.astype(np.float32)


def _lit(buffers: _Buffers, finish: Finish) -> NDArray[np.float32]:
    """Returns the lit colours (H, W, 3) in 0..1: wrapped diffuse, highlight, cool light from behind."""
    length = np.sqrt(buffers.slope_x**2 + buffers.slope_y**2 + 1)
    nx, ny, nz = buffers.slope_x / length, buffers.slope_y / length, 1 / length
    flat = np.sqrt(1 - _HEIGHT**2)
    light = np.array([np.sin(finish.light) * flat, -np.cos(finish.light) * flat, _HEIGHT], np.float32)
    halfway = light + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    facing = nx * light[0] + ny * light[1] + nz * light[2]
    diffuse = np.clip(0.35 + 0.65 * facing, 0, 1) * buffers.light
    mirror = np.clip(nx * halfway[0] + ny * halfway[1] + nz * halfway[2], 0, 1)
    shine = finish.gloss * buffers.gloss * (mirror**28 * 0.75 + mirror**6 * 0.1) * buffers.light
    ambient = np.array([0.44, 0.39, 0.44], np.float32) * (1 - finish.contrast) / 0.35
    tint = finish.warmth * np.array([0.09, 0.0, -0.14], np.float32)
    lamp = ambient + diffuse[..., None] * (np.array([0.66, 0.68, 0.62], np.float32) + tint) * finish.contrast / 0.65
    rim = (1 - nz) ** 3 * np.clip(nx - ny * 0.3, 0, 1) * 0.25
    back_light = rim[..., None] * np.array([0.7, 0.85, 1.0], np.float32)
    lit: NDArray[np.float32] = np.clip(buffers.colour * lamp + shine[..., None] + back_light, 0, 1)
    return lit
