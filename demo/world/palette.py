"""Named colours of the world, as RGB triples in 0..255, and sums on them."""

from typing import Final

Rgb = tuple[int, int, int]

HAIR: Final[dict[str, Rgb]] = {
    "blonde": (250, 214, 96),
    "brown": (139, 84, 48),
    "black": (48, 46, 58),
    "red": (212, 44, 44),
    "pink": (250, 148, 190),
    "blue": (66, 120, 230),
    "green": (70, 178, 92),
    "white": (236, 236, 242),
}
EYES: Final[dict[str, Rgb]] = {
    "blue": (30, 110, 255),
    "green": (20, 180, 70),
    "red": (235, 20, 40),
    "brown": (116, 62, 26),
    "purple": (160, 50, 225),
    "yellow": (255, 204, 0),
}
CLOTHES: Final[dict[str, Rgb]] = {
    "red": (218, 48, 52),
    "blue": (58, 96, 210),
    "green": (46, 150, 84),
    "yellow": (250, 206, 60),
    "white": (246, 246, 250),
    "black": (54, 52, 62),
    "purple": (140, 76, 176),
}
SKIN: Final[dict[str, Rgb]] = {"light": (255, 226, 206), "dark": (160, 104, 72)}
INK: Final[Rgb] = (52, 36, 44)


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Returns `a` with `share` (0..1) of `b` in it."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def darker(colour: Rgb, share: float) -> Rgb:
    """Returns a cool shadow of `colour`; 0 leaves it, 1 is night."""
    return mix(colour, (40, 20, 60), share)


def lighter(colour: Rgb, share: float) -> Rgb:
    """Returns `colour` with `share` of white in it."""
    return mix(colour, (255, 255, 255), share)
