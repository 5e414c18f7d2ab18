"""Four LoRAs of the demo's character that a judge has to tell apart: `python -m demo.proof.ranked OUT`.

Of the demo's screenshots: one by the note's method at its ten epochs, one hardly at all, one far too hard, and one
straight on the base at a rate that takes the 3D look along; style pictures have no words, as the method has it. They
are brought to rank 4, so that the files are small (tests/golden/ranked).
"""

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from demo.project import draw, write_project
from demo.proof.arms import overlaid
from demo.world import STYLE
from flows.ending import run_by_command
from flows.graph import make_lora
from lora_core.lora.algebra import Size
from lora_core.lora.combine import Term, resize
from lora_core.progress import silent
from lora_core.recipe_file import anchored, parse_recipe
from lora_core.sampling.epochs import epoch_files
from tasks.runtime import RunContext

RANK: Final = 4
_SMALL: Final = {"rank": RANK, "alpha": RANK / 2}
_TRAINING: Final = {"epochs": 10, "unet_lr": 4e-4, "text_encoder_lr": 1e-4}
_STYLE_TRAINING: Final = {"resolution": 128, "batch": 8, "unet_lr": 1e-3, "text_encoder_lr": 2e-4}


@dataclass(frozen=True)
class Kind:
    """One of the four.

    Attributes:
        training: what differs from `_TRAINING`.
        method: of the recipe.
        epoch: whose file is taken; 0: the last.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    method: str = "note"
    epoch: int = 0


FOUR: Final[Mapping[str, Kind]] = {
    "under": Kind({**_SMALL, "unet_lr": 1e-4, "text_encoder_lr": 2e-5, "repeats": 1, "epochs": 1}),
    "over": Kind({**_SMALL, "unet_lr": 4e-3, "text_encoder_lr": 1e-3, "epochs": 2}),
    "naive": Kind({**_SMALL, "unet_lr": 2e-3, "text_encoder_lr": 4e-4, "epochs": 3}, "naive"),
    "good": Kind(epoch=8),  # what the judge chose
}


def main() -> None:
    """Train what is missing and write OUT/NAME.safetensors for each of the four."""
    parser = argparse.ArgumentParser(prog="python -m demo.proof.ranked", description=__doc__)
    parser.add_argument("out", type=Path, help="where the four files go; one that lies there already must be the same")
    parser.add_argument("--work", type=Path, default=Path("out") / "demo", help="the demo's screenshots and recipe")
    parser.add_argument("--store", type=Path, default=Path(".headcanon"))
    asked = parser.parse_args()
    recipe = write_project(asked.work, asked.store)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, kind in FOUR.items():
        resize(Term(trained(recipe, name, kind)), asked.out / f"{name}.safetensors", Size(RANK), "fp16", silent)


def trained(recipe_file: Path, name: str, kind: Kind) -> Path:
    """The file of one of the four, in the store."""
    own = tomllib.loads(recipe_file.read_text("utf-8"))
    draw(STYLE, recipe_file.parent / "style", seed=5)
    differs = {
        "name": name, "method": kind.method, "style": "style", "style_training": _STYLE_TRAINING,
        "character_training": {**_TRAINING, **kind.training}, "redraw": {"use": False},
    }  # fmt: skip
    recipe = anchored(parse_recipe(overlaid(own, differs), name), recipe_file.parent)
    at = RunContext.of(recipe)
    store = at.open_store()
    with run_by_command():
        lora = make_lora(recipe, at, "train character").whole
    return store.path(epoch_files(store, lora)[kind.epoch - 1].sha256)


if __name__ == "__main__":
    main()
