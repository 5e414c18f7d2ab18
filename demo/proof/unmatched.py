"""A style set that matches the character's in nothing but its size: other framings, and every picture straight-on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from demo.world.character import Character
from demo.world.scene import Composition
from demo.world.screenshot import screenshot_tags, screenshots
from demo.world.solid import Finish

_SEED: Final = 3
_DRAWN: Final = 4
"""For one picture that is kept; three of ten are straight-on."""


def unmatched(plan: Mapping[Composition, int]) -> dict[Composition, int]:
    """The plan's counts the other way round: what is most of it becomes least."""
    return dict(zip(plan, reversed(tuple(plan.values())), strict=True))


def unmatched_screenshots(character: Character, folder: Path, plan: Mapping[Composition, int], finish: Finish) -> None:
    """Draw as many pictures as the plan has into `folder`.

    Args:
        character: who poses.
        folder: to write into.
        plan: how many pictures of each composition the other set has.
        finish: light and gloss of the 3D creator.
    """
    wanted = unmatched(plan)
    drawn = {composition: _DRAWN * count for composition, count in wanted.items()}
    tags = screenshot_tags(character, _SEED, drawn)
    kept = dict.fromkeys(wanted, 0)
    for path in screenshots(character, folder, _SEED, drawn, finish):
        composition = next(each for each in wanted if path.name.startswith(each))
        if "straight-on" in tags[path.name] and kept[composition] < wanted[composition]:
            kept[composition] += 1
            path.rename(folder / f"{composition}_{kept[composition]:03d}.png")
        else:
            path.unlink()
