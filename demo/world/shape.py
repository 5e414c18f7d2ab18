"""Outlines in head units, which both looks paint in their own way.

The origin is the middle of the head, x grows to the right, y downwards, and the head is about 2 wide.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from demo.world.palette import Rgb

Points = NDArray[np.float64]  # (N, 2) corners in head units

_CURVE_STEPS: Final = 6


@dataclass(frozen=True, eq=False)
class Shape:
    """One closed outline and how it is painted.

    Attributes:
        points: (N, 2) corners in head units.
        fill: colour.
        outline: width of the dark line in the flat look, in head units; 0 draws none.
        round: radius of the rounded rim in the solid look, in head units; 0 paints a decal on the surface below.
        dome: centre x, centre y, half width, half height of the ellipsoid that bends the surface in the solid look.
        gloss: 0..1 strength of the highlight in the solid look.
        strands: 0..1 depth of hair-like grooves in the solid look.
        shadow: 0..1 how dark a shadow it drops on what lies below, in the solid look.
        opacity: 0..1, of decals in the solid look.
    """

    points: Points
    fill: Rgb
    outline: float = 0.0
    round: float = 0.0
    dome: tuple[float, float, float, float] | None = None
    gloss: float = 0.0
    strands: float = 0.0
    shadow: float = 0.0
    opacity: float = 1.0


def corners(*points: tuple[float, float]) -> Points:
    """Returns the corners as an array (N, 2)."""
    return np.array(points, dtype=np.float64)


def smooth(points: Points) -> Points:
    """Returns a closed Catmull-Rom curve through `points`, six corners for each given one."""
    before, after, last = np.roll(points, 1, 0), np.roll(points, -1, 0), np.roll(points, -2, 0)
    t = (np.arange(_CURVE_STEPS) / _CURVE_STEPS)[None, :, None]
    a, b, c, d = (p[:, None, :] for p in (before, points, after, last))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve.reshape(-1, 2))


def blob(*points: tuple[float, float]) -> Points:
    """Returns a smooth closed curve through the given points."""
    return smooth(corners(*points))


def ellipse(x: float, y: float, half_width: float, half_height: float, turn: float = 0.0) -> Points:
    """Returns an ellipse of 28 corners; `turn` in radians, clockwise."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    px, py = half_width * np.cos(angle), half_height * np.sin(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([x + px * cos - py * sin, y + px * sin + py * cos], axis=1)


def arc(x: float, y: float, half_width: float, rise: float, thickness: float, tilt: float = 0.0) -> Points:
    """Returns a crescent from left to right whose middle stands `rise` above its ends (below when negative)."""
    t = np.linspace(-1, 1, 11)
    upper = np.stack([x + half_width * t, y - rise * (1 - t**2) + tilt * t], axis=1)
    taper = thickness * (0.35 + 0.65 * (1 - t**2))
    lower = np.stack([upper[:, 0], upper[:, 1] + taper], axis=1)
    return np.concatenate([upper, lower[::-1]])


def turned(points: Points, angle: float, x: float = 0.0, y: float = 0.0) -> Points:
    """Returns `points` turned by `angle` radians clockwise about (x, y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    centre = np.array([x, y])
    return np.asarray((points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre)


def squeezed(shape: Shape, wide: float, tall: float, pivot_y: float) -> Shape:
    """Returns `shape` with its width and height scaled about (0, pivot_y)."""
    factor, pivot = np.array([wide, tall]), np.array([0.0, pivot_y])
    dome = shape.dome
    if dome is not None:
        dome = (dome[0] * wide, (dome[1] - pivot_y) * tall + pivot_y, dome[2] * wide, dome[3] * tall)
    return replace(shape, points=(shape.points - pivot) * factor + pivot, dome=dome, round=shape.round * tall)


def moved(shape: Shape, angle: float, scale: float, x: float, y: float, pivot_y: float) -> Shape:
    """Returns `shape` turned and scaled about (0, pivot_y), then shifted by (x, y)."""
    pivot = np.array([0.0, pivot_y])
    points = (turned(shape.points, angle, 0.0, pivot_y) - pivot) * scale + pivot + np.array([x, y])
    dome = shape.dome
    if dome is not None:
        centre = (turned(np.array([dome[:2]]), angle, 0.0, pivot_y)[0] - pivot) * scale + pivot + np.array([x, y])
        dome = (float(centre[0]), float(centre[1]), dome[2] * scale, dome[3] * scale)
    return replace(shape, points=points, dome=dome, round=shape.round * scale)
