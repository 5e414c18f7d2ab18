"""The demo at a reduced size, for benchmarks of what lies around the computing."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomlkit

from demo.project import write_project
from demo.world import STYLE, screenshots
from demo.world.character import CAST
from demo.world.screenshot import PLAN

NAMES = tuple(name for name, character in CAST.items() if character != STYLE)


def draw(folder: Path, names: Iterable[str], pictures: int) -> None:
    """Some of the plan's screenshots of each character in FOLDER/NAME, and of the style's in FOLDER/style."""
    plan = {composition: max(1, number * pictures // sum(PLAN.values())) for composition, number in PLAN.items()}
    for name in names:
        screenshots(CAST[name], folder / name, seed=1, plan=plan)
    screenshots(STYLE, folder / "style", seed=5, plan=plan)


def recipe(folder: Path, epochs: int, **changes: Any) -> str:
    """The demo's recipe with short trainings, few samples and no gates.

    Args:
        folder: an empty one, to work in.
        epochs: of both trainings.
        changes: keys of the recipe that are set to something else.
    """
    for side in ("character", "style"):
        (folder / side).mkdir(parents=True)  # so that the demo draws none of its own
    made = tomlkit.parse(write_project(folder, folder / "store").read_text())
    made["method"], made["style"], made["style_training"] = "note", "style", {"resolution": 128, "unet_lr": 1e-3}
    made["redraw"]["use"] = False
    for stage in ("style_training", "character_training"):
        made[stage] |= {"epochs": epochs, "repeats": 1, "batch": 4}
    made["sampling"] |= {"steps": 4, "weights": [1.0], "seeds": [1]}
    made["runtime"]["processes"] = 1
    made["gates"] = dict.fromkeys(("style", "merge", "epoch", "successor", "captions"), "off")
    for key, value in changes.items():
        made[key] = value
    return tomlkit.dumps(made)
