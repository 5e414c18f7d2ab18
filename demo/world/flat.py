"""The flat look: fills with dark outlines, as in a 2D drawing."""

from typing import Final

from PIL import Image, ImageDraw

from demo.world.figure import Frame
from demo.world.palette import INK
from demo.world.shape import Shape

_OVERSAMPLING: Final = 4


def paint_flat(shapes: list[Shape], frame: Frame) -> Image.Image:
    """Returns the shapes as an RGBA picture of the frame's size, straight alpha."""
    fine = frame.scaled(_OVERSAMPLING)
    # Transparent ink, so that reducing does not pull white into the rim.
    picture = Image.new("RGBA", (fine.width_px, fine.height_px), (*INK, 0))
    pen = ImageDraw.Draw(picture)
    for shape in shapes:
        xy = [
            (fine.offset_x_px + x * fine.unit_px, fine.offset_y_px + y * fine.unit_px) for x, y in shape.points.tolist()
        ]
        if shape.outline > 0:
            width = max(2, round(shape.outline * fine.unit_px))
            pen.line([*xy, xy[0], xy[1]], fill=(*INK, 255), width=width, joint="curve")
        pen.polygon(xy, fill=(*shape.fill, 255))
    return picture.reduce(_OVERSAMPLING)
