"""Arms: recipes that differ from one another in one thing, as small TOML files over a common one."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from demo.project import MODELS
from demo.proof.pairs import Pair
from lora_core.errors import RecipeError
from lora_core.recipe import Recipe
from lora_core.recipe_file import parse_recipe

RECIPES: Final = Path(__file__).resolve().parents[1] / "recipes"
NAIVE: Final = "naive"
LONG_NAIVE: Final = "naive-epochs-8"
"""A plain LoRA that is trained for as many epochs as the recommended arm's last one."""
PLAIN: Final = (NAIVE, LONG_NAIVE)
RECOMMENDED: Final = "captions-only-redraw"
"""What README recommends; named before the runs, so that the claim about it is no pick among many."""
PILOT: Final = "momo-yuki"
"""The pair, with training seed 1, on which the recommended arm's number of epochs was chosen."""
CORE: Final = (*PLAIN, "captions-only", RECOMMENDED)
"""The arms of the main question: plain LoRAs, words that keep the look out, and these with redrawing."""
AUTO: Final = "auto"
"""What the product does by itself with a base, whatever that knows."""
TEACHING: Final = (AUTO, "merge-gentle-redraw", "named-look-redraw")
"""Arms for a base that does not know the look alone (`demo.proof.forgetful`)."""
PICKED: Final = "redraw-picked"
MARKED: Final = (
    "redraw-own-word", "redraw-of-epochs-8", "captions-only-beside", "captions-only-beside-redraw", PICKED,
    "redraw-denoise-0.5", "redraw-half-denoise-0.4",
)  # fmt: skip
"""Arms that were tried on the characters with a trait that no tag names (`demo.proof.hidden`)."""
BEGUN: Final = ("redraw-from-screenshots", "redraw-all-from-screenshots", "redraw-denoise-0.4")
"""Redrawn pictures that begin with screenshots: half of them, all, and all with more left of each
(`demo.proof.variants`)."""
OTHERS_KEPT: Final = "redraw-others-kept"
"""The recommended arm as it was before redraw refused another character's traits."""
ASIDE: Final = (*TEACHING, *MARKED, *BEGUN, OTHERS_KEPT, "style-stronger")
"""Arms that `all` leaves out. The last takes an hour, and was behind in every figure of the earlier proof."""
NOTE: Final = "note"
AGAINST: Final = (*PLAIN, RECOMMENDED, NOTE)
"""What all arms are compared with."""
_COMMON: Final = "common"
_QUICK: Final = "quick"

CROWD: Final = "crowd"
UNMATCHED: Final = "unmatched"
STYLE_SETS: Final = (CROWD, UNMATCHED)
"""As an arm's `style`, or its `images`: screenshots of many characters in the place of one's, or of the style
character in other framings and poses than the target's."""
_LIKE: Final = "like"
"""As a key of an arm's file: another arm, whose changes this one makes too."""
_DRAWN_ON: Final = "drawn_on"
_MERGED: Final = "merged"
"""As a key of an arm's file, and its only value: samples are drawn on the merged model, not on the base."""

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: the file's, without ending.
        title: the file's first line, in words.
        table: what it changes, as recipe TOML.
        like: the arm whose changes it makes too; empty: none.
        on_merged: whether the LoRA is drawn on the merged model that it was trained on, in place of the base.
    """

    name: str
    title: str
    table: Table
    like: str = ""
    on_merged: bool = False

    @property
    def style_set(self) -> str:
        """Which of `STYLE_SETS` the look is learned from; empty: the style character's, matched with the target's."""
        style = self.table.get("style")
        images = style.get("images") if isinstance(style, Mapping) else style
        return images if images in STYLE_SETS else ""


@dataclass(frozen=True)
class Screenshots:
    """Folders of the two sets, and of those of `STYLE_SETS` that an arm wants."""

    style: Path
    character: Path
    others: Mapping[str, Path] = field(default_factory=dict)


def arm_names() -> tuple[str, ...]:
    """All arms that ship, the core ones first."""
    others = sorted({path.stem for path in RECIPES.glob("*.toml")} - {*CORE, _COMMON, _QUICK})
    return (*CORE, *others)


def read_arm(name: str) -> Arm:
    """An arm by its name, or by the path of a TOML file of one's own.

    Raises:
        RecipeError: there is no such arm, or its file is not TOML.
    """
    if name in arm_names():
        return _arm(RECIPES / f"{name}.toml")
    if name.endswith(".toml") and Path(name).is_file():
        return _arm(Path(name))
    raise RecipeError(f"--arms {name}: there is no such arm; known: {', '.join(arm_names())}, or a path to a .toml")


def common(*, quick: bool) -> Table:
    """What all arms share."""
    shared = read_table(RECIPES / f"{_COMMON}.toml")
    return overlaid(shared, read_table(RECIPES / f"{_QUICK}.toml")) if quick else shared


def recipe_of(arm: Arm, shared: Table, pair: Pair, seed: int, shots: Screenshots) -> Recipe:
    """The whole recipe of one arm on one pair with one training seed.

    Raises:
        RecipeError: the arm names an option that does not exist, or a value out of its bounds.
    """
    own = {
        "name": pair.target,
        "trigger": pair.target,
        "base": str(MODELS / "base"),
        "tagger": str(MODELS / "tagger"),
        "style": {"images": str(shots.style)},
        "character": str(shots.character),
        "captions": {"memorize": list(pair.character.identity_tags())},
        "style_training": {"seed": seed},
        "character_training": {"seed": seed},
    }
    look = {"style": {"images": str(shots.others[arm.style_set])}} if arm.style_set else {}
    return parse_recipe(overlaid(own, shared, arm.table, look), f"arm {arm.name}")


def overlaid(*tables: Table) -> dict[str, Any]:
    """Tables laid over one another: a later value wins, sub-tables are laid over likewise."""
    result: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            below = result.get(key)
            result[key] = overlaid(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def read_table(path: Path) -> Table:
    """A TOML file.

    Raises:
        RecipeError: it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: not a readable TOML file: {error}") from error


def _arm(path: Path) -> Arm:
    first = path.read_text("utf-8").partition("\n")[0]
    table = dict(read_table(path))
    like = str(table.pop(_LIKE, ""))
    below = read_arm(like) if like else Arm("", "", {})
    if (on := table.pop(_DRAWN_ON, "")) not in ("", _MERGED):
        raise RecipeError(f"{path}: drawn_on: got {on!r}; allowed is {_MERGED!r}")
    title = first.removeprefix("#").strip() or path.stem
    return Arm(path.stem, title, overlaid(below.table, table), like, on_merged=below.on_merged or on == _MERGED)
