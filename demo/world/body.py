"""Neck, clothes, arms and legs."""

from demo.world.character import Character
from demo.world.face import LINE
from demo.world.palette import CLOTHES, SKIN, Rgb, darker, lighter
from demo.world.scene import Scene
from demo.world.shape import Shape, arc, blob, corners, ellipse


def body(character: Character, scene: Scene) -> list[Shape]:
    """Returns everything below the chin, back to front."""
    skin, cloth = SKIN[character.skin], CLOTHES[character.clothes_color]
    lean = 0.08 * scene.yaw
    neck = Shape(
        blob((-0.2, 0.75), (0.2, 0.75), (0.21, 1.05), (0.34, 1.22), (-0.34, 1.22), (-0.21, 1.05)),
        darker(skin, 0.12),
        outline=LINE,
        round=0.1,
    )
    legs = [_leg(side, skin) for side in (-1, 1)]
    if character.garment == "hoodie":
        return [*legs, *_shorts(), *_arms(cloth, cloth, skin, lean), neck, *_hoodie(cloth, lean)]
    return [*legs, *_arms(cloth, None, skin, lean), neck, *_dress(cloth, lean)]


def _leg(side: int, skin: Rgb) -> Shape:
    points = blob(
        (side * 0.1, 2.9),
        (side * 0.46, 2.9),
        (side * 0.42, 3.9),
        (side * 0.36, 5.2),
        (side * 0.14, 5.2),
        (side * 0.1, 3.9),
    )
    return Shape(points, skin, outline=LINE, round=0.14, gloss=0.2)


def _arms(cloth: Rgb, sleeve: Rgb | None, skin: Rgb, lean: float) -> list[Shape]:
    shapes: list[Shape] = []
    for side in (-1, 1):
        arm = blob(
            (side * 0.5 + lean, 1.25),
            (side * 0.72 + lean, 1.32),
            (side * 0.86 + lean, 1.9),
            (side * 0.93 + lean, 2.5),
            (side * 0.78 + lean, 2.62),
            (side * 0.68 + lean, 2.1),
            (side * 0.5 + lean, 1.7),
        )
        hand = ellipse(side * 0.87 + lean, 2.66, 0.12, 0.16)
        shapes.append(Shape(hand, skin, outline=LINE, round=0.08, gloss=0.2))
        shapes.append(Shape(arm, skin if sleeve is None else sleeve, outline=LINE, round=0.12, gloss=0.2, shadow=0.2))
        if sleeve is None:
            puff = blob(
                (side * 0.34 + lean, 1.2),
                (side * 0.62 + lean, 1.14),
                (side * 0.88 + lean, 1.5),
                (side * 0.78 + lean, 1.76),
                (side * 0.48 + lean, 1.72),
            )
            shapes.append(Shape(puff, lighter(cloth, 0.06), outline=LINE, round=0.16, gloss=0.25, shadow=0.35))
    return shapes


def _dress(cloth: Rgb, lean: float) -> list[Shape]:
    trim = (250, 250, 252) if min(cloth) < 225 else (110, 150, 220)
    skirt = blob(
        (-0.42 + lean, 2.0),
        (0.42 + lean, 2.0),
        (0.72, 2.6),
        (0.98, 3.3),
        (0.5, 3.42),
        (0, 3.46),
        (-0.5, 3.42),
        (-0.98, 3.3),
        (-0.72, 2.6),
    )
    top = blob(
        (-0.3 + lean, 1.1),
        (-0.58 + lean, 1.22),
        (-0.52 + lean, 1.7),
        (-0.45 + lean, 2.12),
        (0.45 + lean, 2.12),
        (0.52 + lean, 1.7),
        (0.58 + lean, 1.22),
        (0.3 + lean, 1.1),
        (0 + lean, 1.22),
    )
    belt = corners((-0.46 + lean, 2.02), (0.46 + lean, 2.02), (0.47 + lean, 2.18), (-0.47 + lean, 2.18))
    collar_left = corners((-0.3 + lean, 1.04), (0.02 + lean, 1.48), (-0.16 + lean, 1.66), (-0.52 + lean, 1.22))
    collar_right = corners((0.3 + lean, 1.04), (-0.02 + lean, 1.48), (0.16 + lean, 1.66), (0.52 + lean, 1.22))
    hem = arc(0, 3.22, 0.93, -0.13, 0.12)
    return [
        Shape(skirt, cloth, outline=LINE, round=0.2, dome=(0, 2.7, 1.5, 3.0), gloss=0.25, strands=0.25, shadow=0.3),
        Shape(hem, trim, opacity=0.9),
        Shape(top, cloth, outline=LINE, round=0.2, dome=(lean, 1.7, 0.9, 2.5), gloss=0.25, shadow=0.2),
        Shape(collar_left, trim, outline=LINE, round=0.05, gloss=0.1, shadow=0.3),
        Shape(collar_right, trim, outline=LINE, round=0.05, gloss=0.1, shadow=0.3),
        Shape(belt, trim, outline=LINE, round=0.05, gloss=0.2),
    ]


def _hoodie(cloth: Rgb, lean: float) -> list[Shape]:
    top = blob(
        (-0.36 + lean, 1.08),
        (-0.66 + lean, 1.28),
        (-0.62 + lean, 2.0),
        (-0.66 + lean, 2.72),
        (0 + lean, 2.84),
        (0.66 + lean, 2.72),
        (0.62 + lean, 2.0),
        (0.66 + lean, 1.28),
        (0.36 + lean, 1.08),
    )
    hood = blob(
        (-0.62 + lean, 1.02),
        (-0.3 + lean, 0.98),
        (0 + lean, 1.28),
        (0.3 + lean, 0.98),
        (0.62 + lean, 1.02),
        (0.56 + lean, 1.34),
        (0 + lean, 1.62),
        (-0.56 + lean, 1.34),
    )
    pocket = corners((-0.3 + lean, 2.15), (0.3 + lean, 2.15), (0.46 + lean, 2.6), (-0.46 + lean, 2.6))
    shapes = [
        Shape(top, cloth, outline=LINE, round=0.2, dome=(lean, 1.9, 1.0, 3.0), gloss=0.1, shadow=0.3),
        Shape(pocket, darker(cloth, 0.14), outline=LINE * 0.8, round=0.06),
        Shape(hood, lighter(cloth, 0.12), outline=LINE, round=0.16, gloss=0.1, shadow=0.4),
    ]
    cord = (250, 250, 250) if min(cloth) < 225 else (120, 124, 140)
    shapes += [
        Shape(
            corners((x - 0.03 + lean, 1.5), (x + 0.03 + lean, 1.5), (x + 0.03 + lean, 2.0), (x - 0.03 + lean, 2.0)),
            cord,
            outline=0.02,
            round=0.03,
        )
        for x in (-0.17, 0.17)
    ]
    return shapes


def _shorts() -> list[Shape]:
    points = blob((-0.56, 2.55), (0.56, 2.55), (0.64, 3.3), (0.1, 3.36), (0, 3.1), (-0.1, 3.36), (-0.64, 3.3))
    return [Shape(points, (66, 74, 104), outline=LINE, round=0.15, gloss=0.1)]
