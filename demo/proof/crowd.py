"""A style set in which nobody comes again: the look of many characters from one 3D creator is the look alone."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from demo.proof.families import traits
from demo.world.character import Character
from demo.world.scene import Composition
from demo.world.screenshot import screenshots
from demo.world.solid import Finish

_PEOPLE: Final = 12
_SEED: Final = 100


def crowd(target: Character, name: str) -> tuple[Character, ...]:
    """Twelve characters that have none of the target's traits, always the same ones for a name."""
    rng, own, found = random.Random(name), set(traits(target).items()), dict[Character, None]()
    while len(found) < _PEOPLE:
        one = Character.random(rng)
        if not own & set(traits(one).items()):
            found[one] = None
    return tuple(found)


def crowd_screenshots(
    people: tuple[Character, ...], folder: Path, plan: Mapping[Composition, int], finish: Finish
) -> None:
    """Draw the plan's pictures into `folder`, each of the next one of the people.

    Args:
        people: who poses.
        folder: to write into, as a single character's screenshots are.
        plan: how many pictures of each composition.
        finish: light and gloss of the 3D creator.
    """
    wanted = [composition for composition, count in plan.items() for _ in range(count)]
    shown = dict.fromkeys(plan, 0)
    for number, one in enumerate(people):
        share: dict[Composition, int] = {}
        for composition in wanted[number :: len(people)]:
            share[composition] = share.get(composition, 0) + 1
        for path in screenshots(one, folder / f"{number}", _SEED + number, share, finish):
            composition = next(each for each in plan if path.name.startswith(each))
            shown[composition] += 1
            path.rename(folder / f"{composition}_{shown[composition]:03d}.png")
        (folder / f"{number}").rmdir()
