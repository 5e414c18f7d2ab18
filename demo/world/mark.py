"""Marks that no tag names: a curl that stands up, a sash on whatever is worn; and others, to tell these from.

The drawn world's taggers and base have no word for them, and none of its trainings drew one. They are as large as its
autoencoder needs: of a scar or a star it gives back a smudge.
"""

from typing import Final

from demo.world.character import Character
from demo.world.face import LINE
from demo.world.palette import CLOTHES, HAIR, Rgb, darker
from demo.world.scene import Scene
from demo.world.shape import Shape, blob, corners

_SASH: Final[Rgb] = (250, 250, 252)
_SASH_ON_WHITE: Final[Rgb] = (218, 48, 52)


def mark_in_hair(character: Character, scene: Scene) -> list[Shape]:
    """Returns hair that stands up from the crown, behind the rest of it."""
    dx = -0.1 * scene.yaw
    outlines: dict[str, list[tuple[tuple[float, float], ...]]] = {
        "curl": [((-0.3, -0.8), (-0.25, -1.35), (0.15, -1.72), (0.75, -1.7), (1.0, -1.35), (0.85, -1.1),
                  (0.62, -1.25), (0.55, -1.42), (0.3, -1.35), (0.25, -0.8))],
        "tufts": [((-0.75, -0.6), (-0.78, -1.45), (-0.25, -0.9)), ((0.75, -0.6), (0.78, -1.45), (0.25, -0.9))],
    }  # fmt: skip
    colour = darker(HAIR[character.hair_color], 0.08)
    return [
        Shape(blob(*((x + dx, y) for x, y in points)), colour, outline=LINE, round=0.16, gloss=0.4, strands=0.6)
        for points in outlines.get(character.mark, [])
    ]


def mark_on_clothes(character: Character, scene: Scene) -> list[Shape]:
    """Returns a band over dress and hoodie, whatever their colour: from one shoulder to the other hip, or level."""
    x = 0.08 * scene.yaw
    outlines = {
        "sash": ((-0.56 + x, 1.2), (-0.24 + x, 1.12), (0.56 + x, 2.1), (0.5 + x, 2.5)),
        "stripe": ((-0.56 + x, 1.55), (0.56 + x, 1.55), (0.54 + x, 1.85), (-0.54 + x, 1.85)),
    }
    if character.mark not in outlines:
        return []
    colour = _SASH if min(CLOTHES[character.clothes_color]) < 225 else _SASH_ON_WHITE
    return [Shape(corners(*outlines[character.mark]), colour, outline=LINE, round=0.05, gloss=0.2, shadow=0.2)]
