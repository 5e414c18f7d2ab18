"""Procedural characters in two looks: flat 2D drawings and smooth "3D creator" renders."""

from demo.world.character import STYLE, TARGET, Character
from demo.world.draw import draw, draw_rgba
from demo.world.scene import Scene
from demo.world.screenshot import screenshots
from demo.world.tags import Look, picture_tags, prompt_text

__all__ = [
    "STYLE",
    "TARGET",
    "Character",
    "Look",
    "Scene",
    "draw",
    "draw_rgba",
    "picture_tags",
    "prompt_text",
    "screenshots",
]
