"""Draws one character in one scene."""

from PIL import Image

from demo.world.background import background
from demo.world.character import Character
from demo.world.figure import figure, square_frame
from demo.world.flat import paint_flat
from demo.world.scene import Scene
from demo.world.solid import FINISHES, Finish, paint_solid
from demo.world.tags import Look


def draw_rgba(
    character: Character,
    scene: Scene,
    look: Look = "flat",
    size_px: int = 128,
    finish: Finish = FINISHES["studio"],
) -> Image.Image:
    """Returns the character alone: RGBA, straight alpha, `size_px` a side."""
    frame = square_frame(scene, size_px)
    shapes = figure(character, scene, look)
    return paint_flat(shapes, frame) if look == "flat" else paint_solid(shapes, frame, finish)


def draw(
    character: Character,
    scene: Scene,
    look: Look = "flat",
    size_px: int = 128,
    finish: Finish = FINISHES["studio"],
) -> Image.Image:
    """Returns the finished picture: RGB, `size_px` a side."""
    picture = background(scene, look, size_px).convert("RGBA")
    picture.alpha_composite(draw_rgba(character, scene, look, size_px, finish))
    return picture.convert("RGB")
