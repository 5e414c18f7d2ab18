"""Does the tagger read generated pictures as a person does? `demo/by_eye` holds what a person saw in 120 of them.

Each picture was drawn by the shipped base from a random prompt (60 in each look, shuffled) and labelled by looking,
without knowing the prompt or what the tagger says. `?` where it cannot be told; such a field does not count.
"""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from demo.proof.probe import load_probe, solid_probabilities
from demo.train.measure import FAMILIES, likeliest
from demo.train.tagger import LABELS
from demo.world.character import EAR_TAGS, HAIR_STYLE_TAGS
from demo.world.scene import BACKGROUND_TAGS, EXPRESSION_TAGS
from demo.world.tags import SOLID_LOOK
from lora_core.tagging.wd14 import Tagger

LOG = logging.getLogger(__name__)

FOLDER: Final = Path(__file__).resolve().parents[1] / "by_eye"
_COLUMNS: Final = 12
_SIDE_PX: Final = 128
_UNKNOWN: Final = "?"

_WORDS: Final[Mapping[str, Mapping[Any, tuple[str, ...]]]] = {
    "hair style": HAIR_STYLE_TAGS,
    "ears": EAR_TAGS,
    "skin": {"light": (), "dark": ("dark_skin",)},
    "hair flower": {"no": (), "yes": ("hair_flower",)},
    "expression": EXPRESSION_TAGS,
    "background": BACKGROUND_TAGS,
    "look": {"flat": (), "solid": SOLID_LOOK},
}
_ENDINGS: Final = {"hair colour": "hair", "eye colour": "eyes"}

Labels = Mapping[str, str]


def report(models: Path) -> None:
    """Logs in what share of the pictures tagger and probe say what the person saw, family by family."""
    pictures, seen = labelled()
    read = tagger_logits(models / "tagger", pictures)
    for family, (right, counted) in agreement(read, seen).items():
        LOG.info("by eye: %s: %d of %d as seen (%.3f)", family, right, counted, right / counted)
    probe = solid_probabilities(load_probe(), pictures)
    told = [(p >= 0.5) == (one["look"] == "solid") for p, one in zip(probe, seen, strict=True) if one["look"] != "?"]
    LOG.info("by eye: look, read by the probe: %d of %d as seen (%.3f)", sum(told), len(told), sum(told) / len(told))


def labelled() -> tuple[list[Image.Image], list[Labels]]:
    """Returns the pictures and what was seen in each: family → a word of the world, or `?`."""
    with (FOLDER / "seen.tsv").open(encoding="utf-8", newline="") as file:
        seen: list[Labels] = list(csv.DictReader(file, delimiter="\t"))
    sheet = Image.open(FOLDER / "pictures.webp").convert("RGB")
    corners = [(k % _COLUMNS * _SIDE_PX, k // _COLUMNS * _SIDE_PX) for k in range(len(seen))]
    return [sheet.crop((x, y, x + _SIDE_PX, y + _SIDE_PX)) for x, y in corners], seen


def tagger_logits(folder: Path, pictures: Sequence[Image.Image]) -> torch.Tensor:
    """Returns what the shipped tagger reads off the pictures, shape (N, labels)."""
    tagger = Tagger.load({path.name: path for path in folder.iterdir()}, "cpu")
    rows = tagger.probabilities([tagger.prepared(picture) for picture in pictures])
    order = [[label.name for label in tagger.labels].index(name) for name in LABELS]
    return torch.logit(torch.from_numpy(rows[:, order]).double(), eps=1e-7)


def agreement(logits: torch.Tensor, seen: Sequence[Labels]) -> dict[str, tuple[int, int]]:
    """Returns per family in how many pictures the tagger's likeliest choice is what was seen, and of how many.

    Args:
        logits: shape (N, labels).
        seen: N labels; those that name none of a family's choices do not count for it.
    """
    figures = {}
    for family, choices in FAMILIES.items():
        wanted = [_tags(family, one.get(family, _UNKNOWN)) for one in seen]
        read = [choices[k] for k in likeliest(choices, logits)]
        pairs = [(a, b) for a, b in zip(read, wanted, strict=True) if b in choices]
        if pairs:
            figures[family] = (sum(a == b for a, b in pairs), len(pairs))
    return figures


def _tags(family: str, word: str) -> tuple[str, ...] | None:
    if family in _ENDINGS:
        return (f"{word}_{_ENDINGS[family]}",)
    return _WORDS.get(family, {}).get(word)
