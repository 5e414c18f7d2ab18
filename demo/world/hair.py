"""Hair, animal ears and the flower in the hair."""

from typing import Final

import numpy as np

from demo.world.character import Character
from demo.world.face import LINE
from demo.world.palette import HAIR, Rgb, darker, lighter, mix
from demo.world.scene import Scene
from demo.world.shape import Points, Shape, blob, corners, ellipse, turned
from demo.world.tags import Look

_TIE: Final[Rgb] = (226, 60, 72)
_TIE_ON_RED: Final[Rgb] = (250, 250, 250)


def hair_behind(character: Character, scene: Scene) -> list[Shape]:
    """Returns the hair behind head and body."""
    colour = darker(HAIR[character.hair_color], 0.22)
    dx = -0.12 * scene.yaw
    if character.hair_style == "long":
        fall = blob(
            (0 + dx, -1.0),
            (0.85 + dx, -0.7),
            (1.12 + dx, 0.2),
            (1.18 + dx, 1.2),
            (1.22 + dx, 2.1),
            (0.9 + dx, 2.62),
            (0.45 + dx, 2.5),
            (0 + dx, 2.66),
            (-0.45 + dx, 2.5),
            (-0.9 + dx, 2.62),
            (-1.22 + dx, 2.1),
            (-1.18 + dx, 1.2),
            (-1.12 + dx, 0.2),
            (-0.85 + dx, -0.7),
        )
        return [_lock(fall, colour, round_=0.22)]
    nape = blob(
        (0 + dx, -1.0),
        (0.9 + dx, -0.6),
        (1.08 + dx, 0.2),
        (0.98 + dx, 0.8),
        (0.6 + dx, 0.98),
        (-0.6 + dx, 0.98),
        (-0.98 + dx, 0.8),
        (-1.08 + dx, 0.2),
        (-0.9 + dx, -0.6),
    )
    if character.hair_style == "ponytail":
        # The tail is tied high at the back; it swings out on the side away from the gaze, so that it shows.
        side = -1 if scene.yaw > 0 else 1
        tail = blob(
            (side * 0.45, -0.95),
            (side * 1.05, -1.18),
            (side * 1.62, -0.75),
            (side * 1.78, 0.2),
            (side * 1.62, 1.05),
            (side * 1.3, 1.6),
            (side * 1.22, 0.7),
            (side * 1.05, -0.1),
        )
        return [
            _lock(nape, colour),
            _lock(tail, HAIR[character.hair_color], round_=0.2),
            _tie(character, side * 0.88, -0.86, 0.15),
        ]
    return [_lock(nape, colour)]


def hair_beside(character: Character, scene: Scene) -> list[Shape]:
    """Returns tails and braids, which hang beside the head and over the shoulders."""
    shapes: list[Shape] = []
    for side in (-1, 1):
        near = 1 - 0.25 * side * scene.yaw
        if character.hair_style == "twintails":
            shapes += _twintail(character, side, near)
        elif character.hair_style == "twin_braids":
            shapes += _braid(character, side, near)
    return shapes


def hair_front(character: Character, scene: Scene, look: Look) -> list[Shape]:
    """Returns the cap of hair with its fringe, over the face."""
    colour = HAIR[character.hair_color]
    cap = _cap(character, scene)
    dome = (0.1 * scene.yaw, -0.05, 1.25, 1.25)
    shapes = [Shape(cap, colour, outline=LINE, round=0.1, dome=dome, gloss=0.75, strands=0.5, shadow=0.42)]
    if look == "flat":
        shapes.append(_shine(colour, scene))
    if character.hair_flower:
        shapes += _flower(0.74 + 0.1 * scene.yaw, -0.62)
    return shapes


def animal_ears(character: Character, scene: Scene) -> list[Shape]:
    """Returns cat or bear ears; their feet are hidden by the cap of hair."""
    colour = HAIR[character.hair_color]
    inner = mix((255, 170, 180), colour, 0.15)
    shapes: list[Shape] = []
    for side in (-1, 1):
        dx = -0.1 * scene.yaw
        if character.ears == "cat":
            outer = corners(
                (side * 0.2 + dx, -0.9),
                (side * 0.5 + dx, -1.3),
                (side * 0.8 + dx, -1.58),
                (side * 0.98 + dx, -1.1),
                (side * 1.0 + dx, -0.5),
            )
            hollow = corners(
                (side * 0.42 + dx, -0.95),
                (side * 0.6 + dx, -1.2),
                (side * 0.77 + dx, -1.4),
                (side * 0.87 + dx, -1.08),
                (side * 0.88 + dx, -0.6),
            )
        else:
            outer, hollow = ellipse(side * 0.76 + dx, -1.04, 0.38, 0.38), ellipse(side * 0.77 + dx, -1.02, 0.22, 0.22)
        shapes += [
            Shape(outer, colour, outline=LINE, round=0.1, gloss=0.4, strands=0.3),
            Shape(hollow, inner, opacity=0.95),
        ]
    return shapes


def _lock(points: Points, colour: Rgb, round_: float = 0.18) -> Shape:
    return Shape(points, colour, outline=LINE, round=round_, gloss=0.6, strands=0.6, shadow=0.35)


def _tie(character: Character, x: float, y: float, radius: float) -> Shape:
    colour = _TIE_ON_RED if character.hair_color == "red" else _TIE
    return Shape(ellipse(x, y, radius, radius), colour, outline=LINE * 0.8, round=0.08, gloss=0.8)


def _twintail(character: Character, side: int, near: float) -> list[Shape]:
    colour = HAIR[character.hair_color]
    out = 0.92 + 0.7 * near
    tail = blob(
        (side * 0.88, -0.5),
        (side * (out - 0.25), -0.62),
        (side * out, -0.1),
        (side * (out + 0.1), 0.8),
        (side * (out - 0.02), 1.6),
        (side * (out - 0.32), 2.15),
        (side * (out - 0.5), 1.5),
        (side * (out - 0.62), 0.7),
        (side * 0.92, 0.1),
    )
    return [_lock(tail, colour, round_=0.17), _tie(character, side * 0.98, -0.42, 0.14)]


def _braid(character: Character, side: int, near: float) -> list[Shape]:
    colour = HAIR[character.hair_color]
    shapes = []
    x = side * (0.86 + 0.12 * near)
    for k in range(5):
        y = 0.72 + 0.34 * k
        shapes.append(
            _lock(
                ellipse(x + side * 0.05 * (-1) ** k, y, 0.21 - 0.012 * k, 0.22, turn=0.35 * (-1) ** k),
                lighter(colour, 0.05),
                round_=0.12,
            )
        )
    tuft = blob((x - 0.1, 2.34), (x + 0.1, 2.34), (x + 0.15, 2.6), (x, 2.76), (x - 0.15, 2.6))
    return [_lock(tuft, colour, round_=0.08), *shapes[::-1], _tie(character, x, 2.32, 0.13)]


def _cap(character: Character, scene: Scene) -> Points:
    lock_end = 0.5 if character.hair_style == "short" else 0.62
    fringe = corners(
        (1.06, 0.1),
        (1.02, 0.45),
        (0.9, lock_end + 0.18),
        (0.84, 0.3),
        (0.76, -0.02),
        (0.66, 0.16),
        (0.5, -0.16),
        (0.36, 0.06),
        (0.16, -0.22),
        (-0.02, 0.04),
        (-0.2, -0.22),
        (-0.42, 0.08),
        (-0.52, -0.16),
        (-0.7, 0.16),
        (-0.77, -0.02),
        (-0.84, 0.3),
        (-0.9, lock_end + 0.18),
        (-1.02, 0.45),
        (-1.06, 0.1),
    )
    bend = np.clip(1 - (fringe[:, 0] / 1.06) ** 2, 0, 1)
    fringe[:, 0] += 0.42 * scene.yaw * bend
    fringe[:, 1] += (0.12 * scene.pitch - 0.06) * bend
    angle = np.linspace(np.pi, 2 * np.pi, 19)[1:-1]
    crown = np.stack([1.06 * np.cos(angle), 0.1 + (1.2 + 0.03 * scene.pitch) * np.sin(angle)], axis=1)
    return np.concatenate([crown, fringe])


def _shine(colour: Rgb, scene: Scene) -> Shape:
    t = np.linspace(-1, 1, 15)
    x = 0.72 * t + 0.2 * scene.yaw
    y = -0.78 + 0.24 * t**2 + 0.08 * scene.pitch
    zigzag = np.where(np.arange(15) % 2 == 0, 0.05, 0.13) * (1 - t**2)
    band = np.concatenate([np.stack([x, y], 1), np.stack([x, y + zigzag + 0.03], 1)[::-1]])
    return Shape(band, lighter(colour, 0.42))


def _flower(x: float, y: float) -> list[Shape]:
    petals = [
        Shape(
            turned(ellipse(x + 0.17, y, 0.15, 0.12), k * 2 * np.pi / 5 - 0.3, x, y),
            (255, 250, 252),
            outline=LINE * 0.7,
            round=0.06,
            gloss=0.3,
            shadow=0.3 if k == 0 else 0.0,
        )
        for k in range(5)
    ]
    return [*petals, Shape(ellipse(x, y, 0.09, 0.09), (252, 196, 48), outline=LINE * 0.6, round=0.05, gloss=0.5)]
