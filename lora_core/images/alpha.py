"""What a screenshot's alpha is: straight or premultiplied, a cut-out or something else; and how to flatten it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_core.images.subject import FAINTEST_ALPHA

AlphaKind = Literal["opaque", "straight", "premultiplied"]

# Measured on drawn hair: straight blonde .996, straight dark .074, premultiplied 0.
_MOST_BRIGHT = 0.005
# Room for rounding in the creator's own shader.
_TOLERANCE_LEVELS = 2


@dataclass(frozen=True)
class AlphaReading:
    """How a picture stores transparency.

    Attributes:
        kind: what it is taken for.
        edge_pixels: pixels that are neither opaque nor transparent.
        bright_share: the share of those whose brightest channel exceeds their alpha; premultiplied files have none.
    """

    kind: AlphaKind
    edge_pixels: int
    bright_share: float


def read_alpha(rgba: NDArray[np.uint8]) -> AlphaReading:
    """Tell straight from premultiplied by the half-transparent pixels.

    A premultiplied colour can't be brighter than its alpha; a straight one can. Where no pixel is half-transparent both
    are the same picture, and it is called straight.

    Args:
        rgba: shape (H, W, 4).
    """
    alpha = np.ascontiguousarray(rgba[..., 3])
    if bool((alpha == 255).all()):
        return AlphaReading("opaque", 0, 0.0)
    pixels = rgba.reshape(-1, 4)[_edge(alpha)].astype(np.int16)
    if len(pixels) == 0:
        return AlphaReading("straight", 0, 0.0)
    share = float((pixels[:, :3].max(axis=1) > pixels[:, 3] + _TOLERANCE_LEVELS).mean())
    return AlphaReading("premultiplied" if share <= _MOST_BRIGHT else "straight", len(pixels), share)


# An edge is a few pixels wide; a cut-out is opaque inside of it.
_OPAQUE = 250
_MOST_HALF = 0.5
_LEAST_CLEAR = 0.005
_EDGE_SHARE, _MOST_OPAQUE_EDGE, _LEAST_HOLLOW = 0.01, 0.75, 0.03
_MOST_TORN = 0.25


def cut_out_fault(alpha: NDArray[np.uint8]) -> str:
    """Why an alpha is no cut-out of a subject, with the figure; empty if it is one.

    A cut-out leaves its surroundings transparent, is opaque but for an edge, and is in few pieces.

    Args:
        alpha: shape (H, W), something in it below 255.
    """
    visible = alpha > FAINTEST_ALPHA
    if not visible.any():
        return "all of it is transparent"
    half = float((alpha[visible] < _OPAQUE).mean())
    if half > _MOST_HALF:
        return f"{half:.0%} of what shows is half-transparent, alpha {alpha.max()} at most"
    clear = 1 - float(visible.mean())
    if clear < _LEAST_CLEAR:
        return (
            f"only {clear:.2%} of it is transparent" if clear else f"none of it is transparent: {alpha.min()} at least"
        )
    edge, whole = _opaque_edge(alpha), float((alpha >= _OPAQUE).mean())
    if edge >= _MOST_OPAQUE_EDGE and edge - whole >= _LEAST_HOLLOW:
        return f"inverted: {edge:.0%} of the picture's edge is opaque, and {clear:.0%} inside of it is transparent"
    torn = float((visible[1:] != visible[:-1]).sum() + (visible[:, 1:] != visible[:, :-1]).sum()) / visible.sum() / 2
    return f"it is torn: {torn:.2f} borders to a pixel" if torn > _MOST_TORN else ""


def _opaque_edge(alpha: NDArray[np.uint8]) -> float:
    """The share of opaque pixels along the picture's four sides."""
    wide = max(1, round(_EDGE_SHARE * min(alpha.shape)))
    inside = np.zeros(alpha.shape, dtype=bool)
    inside[wide:-wide, wide:-wide] = True
    return float((alpha[~inside] >= _OPAQUE).mean())


def flatten(rgba: NDArray[np.uint8], kind: AlphaKind, background: tuple[int, int, int]) -> Image.Image:
    """The picture on a background; half-transparent pixels are computed in floating point and rounded once.

    Straight: c·a + b·(1 − a). Premultiplied: c + b·(1 − a) (Porter & Duff 1984, "over"). What is wholly transparent
    becomes the background, whatever colour a program left there.

    Args:
        rgba: shape (H, W, 4).
        kind: how `rgba` stores transparency.
        background: red, green, blue, 0 to 255.

    Returns:
        Mode RGB.
    """
    # A pixel's four bytes as one number: choosing between two pictures is then one pass, not four.
    packed = np.ascontiguousarray(rgba).view(np.uint32)[..., 0]
    alpha = np.ascontiguousarray(rgba[..., 3])
    behind = np.array([*background, 255], dtype=np.uint8)
    flat = packed.copy() if kind == "opaque" else np.where(alpha == 255, packed, behind.view(np.uint32)[0])
    if kind != "opaque":
        edge = _edge(alpha)
        pixels = rgba.reshape(-1, 4)[edge].astype(np.float32)
        colour, share = pixels[:, :3], pixels[:, 3:] / 255
        shown = (colour if kind == "premultiplied" else colour * share) + behind[:3] * (1 - share)
        flat.view(np.uint8).reshape(-1, 4)[edge, :3] = np.clip(np.rint(shown), 0, 255)
    height, width = alpha.shape
    return Image.frombytes("RGB", (width, height), flat.view(np.uint8).reshape(-1), "raw", "RGBX")


def _edge(alpha: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Places of half-transparent pixels in the flattened picture: 1 to 254, which is 0 to 253 once 1 is taken off."""
    return np.flatnonzero((alpha - np.uint8(1)) < 254)


def colour_of(text: str) -> tuple[int, int, int]:
    """`#rrggbb` as red, green, blue, 0 to 255."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue
