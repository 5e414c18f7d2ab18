"""How well the base follows its prompts, read by the tagger: one share of right answers per family of tags."""

import json
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

import numpy as np
import torch
from torch import Tensor

from demo.sheet import tile
from demo.train.loop import replace_file
from demo.train.tagger import LABELS, trained_tagger
from demo.train.unet import NEGATIVE, sample, trained_denoiser
from demo.train.vae import to_pictures
from demo.world.character import Character, ClothesColor, EyeColor, Garment, HairColor
from demo.world.scene import Composition, Scene
from demo.world.tags import Look, picture_tags, prompt_text

LOG = logging.getLogger(__name__)

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "hair colour": tuple(f"{color}_hair" for color in get_args(HairColor)),
    "hair style": ("short_hair", "twintails", "ponytail", "twin_braids"),
    "eye colour": tuple(f"{color}_eyes" for color in get_args(EyeColor)),
    "ears": ("cat_ears", "bear_ears", "pointy_ears"),
    "clothes": tuple(f"{color}_{garment}" for garment in get_args(Garment) for color in get_args(ClothesColor)),
    "framing": get_args(Composition),
    "background": ("white_background", "sky", "grass", "night", "indoors", "floral_background"),
    "mouth": ("open_mouth", "closed_mouth"),
    "look": ("realistic",),
}
_SAMPLES: Final = 64
_SEED: Final = 505


def measure(work: Path) -> None:
    """Samples random prompts in each look and writes `work/measure.json` and a sheet of them per look."""
    model, step = trained_denoiser(work)
    tagger = trained_tagger(work)
    rng = random.Random(_SEED)
    results: dict[str, dict[str, float]] = {}
    for look in get_args(Look):
        wanted = [_prompt(look, rng) for _ in range(_SAMPLES)]
        negative = NEGATIVE if look == "flat" else ""
        pictures = sample(model, tuple(prompt_text(tags) for tags in wanted), negative, seed=_SEED)
        with torch.no_grad():
            results[look] = followed(tagger(pictures.clamp(-1, 1)), wanted)
        tile(to_pictures(pictures), 8).save(work / f"measure-{look}.png")
        LOG.info("measure step %d %s: %s", step, look, results[look])
    text = json.dumps({"step": step, "samples": _SAMPLES, **results}, indent=2)
    replace_file(work / "measure.json", lambda path: path.write_text(text))


def followed(logits: Tensor, wanted: list[tuple[str, ...]]) -> dict[str, float]:
    """Returns per family the share of pictures whose strongest tag (or none, below one half) is the wanted one."""
    shares = {}
    for family, tags in FAMILIES.items():
        columns = logits[:, [LABELS.index(tag) for tag in tags]]
        # A last column of zeros stands for "none of them".
        read = torch.cat([columns, torch.zeros(len(columns), 1)], 1).argmax(1).tolist()
        truth = [next((k for k, tag in enumerate(tags) if tag in row), len(tags)) for row in wanted]
        shares[family] = round(float(np.mean([a == b for a, b in zip(read, truth, strict=True)])), 3)
    return shares


def _prompt(look: Look, rng: random.Random) -> tuple[str, ...]:
    return picture_tags(Character.random(rng), Scene.random(rng), look)
