"""A whole character as one list of shapes, and the frame that it is seen through."""

from dataclasses import dataclass
from typing import Final

from demo.world.body import body
from demo.world.character import Character
from demo.world.face import face, pointy_ears
from demo.world.hair import animal_ears, hair_behind, hair_beside, hair_front
from demo.world.mark import mark_in_hair, mark_on_clothes
from demo.world.scene import Composition, Scene
from demo.world.shape import Shape, moved, squeezed
from demo.world.tags import Look

# Top and bottom of each composition in head units.
WINDOWS: Final[dict[Composition, tuple[float, float]]] = {
    "close-up": (-0.98, 1.12),
    "portrait": (-1.62, 1.4),
    "upper_body": (-1.68, 1.98),
    "cowboy_shot": (-1.78, 2.9),
}
_NECK_Y: Final = 1.0
# Big heads on small bodies: a face of a few pixels could show neither eye colour nor expression.
_BODY_WIDE: Final = 0.86
_BODY_TALL: Final = 0.65


@dataclass(frozen=True)
class Frame:
    """Maps head units to pixels: `pixel = offset + unit_px * head unit`."""

    width_px: int
    height_px: int
    unit_px: float
    offset_x_px: float
    offset_y_px: float

    def scaled(self, times: int) -> "Frame":
        """Returns the same view with `times` as many pixels a side."""
        return Frame(
            self.width_px * times,
            self.height_px * times,
            self.unit_px * times,
            self.offset_x_px * times,
            self.offset_y_px * times,
        )


def square_frame(scene: Scene, size_px: int) -> Frame:
    """Returns the view of a square picture; zoom keeps the lower edge where the composition puts it."""
    top, bottom = WINDOWS[scene.composition]
    unit_px = size_px / (bottom - top) * scene.zoom
    return Frame(size_px, size_px, unit_px, size_px * (0.5 + scene.shift_x), size_px - bottom * unit_px)


def figure(character: Character, scene: Scene, look: Look) -> list[Shape]:
    """Returns all shapes of the character, back to front, in head units."""
    # Seen from above the head is nearer and lower, from below smaller and higher.
    scale, sink = 1 + 0.09 * scene.pitch, 0.1 * scene.pitch

    def head(shapes: list[Shape]) -> list[Shape]:
        return [moved(shape, scene.tilt, scale, 0.16 * scene.yaw, sink, _NECK_Y) for shape in shapes]

    ears = pointy_ears(character, scene) if character.ears == "pointy" else []
    clothed = [*body(character, scene), *mark_on_clothes(character, scene)]
    furry = animal_ears(character, scene) if character.ears in ("cat", "bear") else []
    return [
        *head([*hair_behind(character, scene), *mark_in_hair(character, scene)]),
        *(squeezed(shape, _BODY_WIDE, _BODY_TALL, _NECK_Y) for shape in clothed),
        *head([*ears, *face(character, scene, look), *furry]),
        *head(hair_front(character, scene, look)),
        *head(hair_beside(character, scene)),
    ]
