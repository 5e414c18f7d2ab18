"""The face: skin, eyes, brows, mouth and, in the solid look, a modelled nose and lips."""

from dataclasses import replace
from typing import Final

import numpy as np

from demo.world.character import Character
from demo.world.palette import EYES, HAIR, INK, SKIN, Rgb, darker, lighter, mix
from demo.world.scene import Expression, Scene
from demo.world.shape import Points, Shape, arc, blob, ellipse
from demo.world.tags import Look

LINE: Final = 0.045
_SPHERE: Final = 1.05
_EYE_X: Final = 0.44
_EYE_Y: Final = 0.2
_LIP: Final[Rgb] = (222, 92, 100)
_WHITE: Final[Rgb] = (255, 255, 255)


def on_face(points: Points, scene: Scene) -> Points:
    """Returns points drawn on a frontal face as the turned and nodding head shows them."""
    longitude = np.arcsin(np.clip(points[:, 0] / _SPHERE, -1, 1)) + 0.52 * scene.yaw
    return np.stack([_SPHERE * np.sin(longitude), points[:, 1] + 0.13 * scene.pitch], axis=1)


def face(character: Character, scene: Scene, look: Look) -> list[Shape]:
    """Returns the shapes of the bare head, back to front."""
    skin = SKIN[character.skin]
    features = [*_blush(skin, look), *_eyes(character, scene.expression, look), *_brows(character, scene.expression)]
    features += [*_nose(skin, look), *_mouth(scene.expression, look)]
    return [_skull(skin, scene), *(replace(shape, points=on_face(shape.points, scene)) for shape in features)]


def pointy_ears(character: Character, scene: Scene) -> list[Shape]:
    """Returns long elf ears to both sides; they lie behind the head."""
    skin = SKIN[character.skin]
    shapes = []
    for side in (-1, 1):
        grow = 1 - 0.35 * side * scene.yaw
        dx = 0.12 * scene.yaw
        outer = blob(
            (side * 0.72 + dx, -0.05),
            (side * (0.8 + 0.45 * grow) + dx, -0.28),
            (side * (0.85 + 0.78 * grow) + dx, -0.42),
            (side * (0.8 + 0.5 * grow) + dx, 0.08),
            (side * 0.75 + dx, 0.36),
        )
        inner = blob(
            (side * 0.85 + dx, 0.02),
            (side * (0.82 + 0.55 * grow) + dx, -0.26),
            (side * (0.8 + 0.38 * grow) + dx, 0.06),
            (side * 0.86 + dx, 0.2),
        )
        shapes.append(Shape(outer, skin, outline=LINE, round=0.1, gloss=0.1))
        shapes.append(Shape(inner, mix(skin, (220, 90, 90), 0.35), opacity=0.8))
    return shapes


def _skull(skin: Rgb, scene: Scene) -> Shape:
    outline = blob(
        (0, -0.9),
        (0.6, -0.72),
        (0.86, -0.2),
        (0.83, 0.28),
        (0.62, 0.66),
        (0.27, 0.88),
        (0, 0.94),
        (-0.27, 0.88),
        (-0.62, 0.66),
        (-0.83, 0.28),
        (-0.86, -0.2),
        (-0.6, -0.72),
    )
    low = np.clip((outline[:, 1] + 0.3) / 1.2, 0, 1)
    outline[:, 0] += 0.3 * scene.yaw * low
    outline[:, 1] += 0.06 * scene.pitch * low
    return Shape(
        outline, skin, outline=LINE, round=0.14, dome=(0.1 * scene.yaw, 0.05, 1.0, 1.15), gloss=0.22, shadow=0.5
    )


def _blush(skin: Rgb, look: Look) -> list[Shape]:
    share = 0.42 if look == "flat" else 0.22
    pink = mix(skin, (255, 96, 110), share)
    return [Shape(ellipse(side * 0.58, 0.5, 0.15, 0.085), pink, opacity=0.8) for side in (-1, 1)]


def _eyes(character: Character, expression: Expression, look: Look) -> list[Shape]:
    shapes: list[Shape] = []
    for side in (-1, 1):
        shut = expression == "closed_eyes" or (expression == "wink" and side == 1)
        shapes += _shut_eye(side) if shut else _open_eye(character, side, expression == "surprised", look)
    return shapes


def _shut_eye(side: int) -> list[Shape]:
    return [Shape(arc(side * _EYE_X, _EYE_Y + 0.18, 0.26, 0.19, 0.095), INK)]


def _open_eye(character: Character, side: int, wide: bool, look: Look) -> list[Shape]:
    x, y, tall = side * _EYE_X, _EYE_Y, 0.37 if wide else 0.33
    iris_x, iris_y = x - side * 0.015, y + 0.01
    iris = EYES[character.eye_color]
    half_width, half_height = (0.17, 0.23) if wide else (0.205, 0.275)
    if look == "solid":
        half_width, half_height = half_width * 0.88, half_height * 0.86
    return [
        Shape(ellipse(x, y, 0.255, tall), _WHITE, outline=0.0, round=0.02 if look == "solid" else 0.0, gloss=0.1),
        Shape(ellipse(iris_x, iris_y, half_width, half_height), darker(iris, 0.45)),
        Shape(ellipse(iris_x, iris_y + 0.035, half_width * 0.86, half_height * 0.82), iris),
        Shape(ellipse(iris_x, iris_y + half_height * 0.58, half_width * 0.5, half_height * 0.26), lighter(iris, 0.5)),
        Shape(ellipse(iris_x, iris_y - 0.01, half_width * 0.32, half_height * 0.34), darker(iris, 0.85)),
        Shape(ellipse(iris_x - 0.08, iris_y - 0.13, 0.065, 0.08), _WHITE),
        Shape(ellipse(iris_x + 0.09, iris_y + 0.12, 0.035, 0.04), _WHITE),
        Shape(_lashes(x, y, tall, side), INK),
    ]


def _lashes(x: float, y: float, tall: float, side: int) -> Points:
    points = arc(x, y - tall * 0.42, 0.29, tall * 0.72, 0.11)
    outer = points[:, 0] * side > (x * side + 0.2)
    points[outer, 1] += 0.03
    return points


def _brows(character: Character, expression: Expression) -> list[Shape]:
    colour = darker(HAIR[character.hair_color], 0.45)
    lift = {"surprised": -0.1, "frown": 0.04, "laugh": -0.03}.get(expression, 0.0)
    lean = 0.11 if expression == "frown" else -0.02
    return [Shape(arc(side * 0.44, -0.24 + lift, 0.21, 0.035, 0.055, tilt=-side * lean), colour) for side in (-1, 1)]


def _nose(skin: Rgb, look: Look) -> list[Shape]:
    if look == "flat":
        return []
    return [
        Shape(ellipse(0, 0.5, 0.125, 0.05), darker(skin, 0.4), opacity=0.75),
        Shape(
            blob((0, 0.12), (0.07, 0.34), (0.125, 0.44), (0.07, 0.5), (-0.07, 0.5), (-0.125, 0.44), (-0.07, 0.34)),
            mix(skin, (255, 190, 170), 0.3),
            round=0.09,
            gloss=0.5,
        ),
        Shape(ellipse(-0.055, 0.485, 0.028, 0.016), darker(skin, 0.6)),
        Shape(ellipse(0.055, 0.485, 0.028, 0.016), darker(skin, 0.6)),
    ]


def _mouth(expression: Expression, look: Look) -> list[Shape]:
    opened = {"laugh": (0.2, 0.17), "wink": (0.17, 0.14), "surprised": (0.1, 0.13)}.get(expression)
    if look == "solid":
        return _lips(expression, opened)
    if opened is None:
        rise = 0.06 if expression == "frown" else -0.075
        return [Shape(arc(0, 0.62 + rise * 0.3, 0.16, rise, 0.05), mix(INK, (150, 40, 50), 0.4))]
    return _cavity(0.6, *opened, round_mouth=expression == "surprised")


def _cavity(y: float, half_width: float, depth: float, round_mouth: bool) -> list[Shape]:
    if round_mouth:
        outer, tongue = ellipse(0, y + 0.06, half_width, depth), ellipse(0, y + 0.11, half_width * 0.6, depth * 0.4)
    else:
        outer = blob(
            (-half_width, y - 0.05),
            (0, y - 0.03),
            (half_width, y - 0.05),
            (half_width * 0.7, y + depth * 0.75),
            (0, y + depth),
            (-half_width * 0.7, y + depth * 0.75),
        )
        tongue = ellipse(0, y + depth * 0.66, half_width * 0.55, depth * 0.26)
    return [Shape(outer, (130, 34, 46), outline=0.03), Shape(tongue, (240, 120, 124))]


def _lips(expression: Expression, opened: tuple[float, float] | None) -> list[Shape]:
    if opened is not None:
        wide, depth = opened
        round_mouth = expression == "surprised"
        rim = (
            ellipse(0, 0.68, wide + 0.025, depth + 0.02)
            if round_mouth
            else ellipse(0, 0.645, wide + 0.025, depth * 0.6 + 0.045)
        )
        return [Shape(rim, _LIP, round=0.04, gloss=0.7), *_cavity(0.63, wide * 0.85, depth * 0.8, round_mouth)]
    curl = 0.05 if expression == "frown" else -0.06
    y = 0.68 + curl * 0.3
    upper = blob(
        (-0.16, y - curl * 0.4),
        (-0.05, y - 0.06),
        (0, y - 0.045),
        (0.05, y - 0.06),
        (0.16, y - curl * 0.4),
        (0, y - curl * 0.3),
    )
    lower = blob(
        (-0.15, y - curl * 0.2), (0, y - curl * 0.2), (0.15, y - curl * 0.2), (0.07, y + 0.085), (-0.07, y + 0.085)
    )
    seam = arc(0, y, 0.16, curl, 0.025)
    return [
        Shape(lower, _LIP, round=0.045, gloss=0.9),
        Shape(upper, darker(_LIP, 0.1), round=0.035, gloss=0.4),
        Shape(seam, (120, 40, 50)),
    ]
