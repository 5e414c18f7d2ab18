"""What the model cards say: how well the base follows its prompts, the VAE gives pictures back, the tagger reads."""

import json
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

import numpy as np
import torch
from torch import Tensor

from demo.sheet import tile
from demo.train.loop import replace_file
from demo.train.tagger import LABELS, Tagger, accuracy, through_vae, trained_tagger
from demo.train.unet import NEGATIVE, sample, trained_denoiser
from demo.train.vae import psnr_held_out, to_pictures, to_tensor
from demo.world.character import (
    EAR_TAGS,
    HAIR_STYLE_TAGS,
    Character,
    ClothesColor,
    EyeColor,
    Garment,
    HairColor,
)
from demo.world.draw import draw
from demo.world.scene import BACKGROUND_TAGS, EXPRESSION_TAGS, Composition, Scene, View
from demo.world.tags import SOLID_LOOK, Look, picture_tags, prompt_text

LOG = logging.getLogger(__name__)

Choices = tuple[tuple[str, ...], ...]

FAMILIES: Final[Mapping[str, Choices]] = {
    "hair colour": tuple((f"{color}_hair",) for color in get_args(HairColor)),
    "hair style": tuple(HAIR_STYLE_TAGS.values()),
    "eye colour": tuple((f"{color}_eyes",) for color in get_args(EyeColor)),
    "ears": tuple(EAR_TAGS.values()),
    "skin": ((), ("dark_skin",)),
    "hair flower": ((), ("hair_flower",)),
    "clothes": tuple((f"{color}_{garment}",) for garment in get_args(Garment) for color in get_args(ClothesColor)),
    "expression": tuple(EXPRESSION_TAGS.values()),
    "framing": tuple((tag,) for tag in get_args(Composition)),
    "view": tuple((tag,) for tag in get_args(View)),
    "background": tuple(BACKGROUND_TAGS.values()),
    "look": ((), SOLID_LOOK),
}
"""Family → what a picture can show of it: of each family exactly one choice, told by its tags."""
_SAMPLES: Final = 512
_AT_ONCE: Final = 32
_SHOWN: Final = 64
_SEED: Final = 505


def measure(work: Path) -> None:
    """Samples random prompts in each look; writes `work/measure.json` and a sheet of samples per look.

    `best possible` are the same prompts as the world itself draws them, through the VAE: what the tagger misreads there
    no base model can be credited with.
    """
    model, step = trained_denoiser(work)
    tagger = trained_tagger(work)
    rng = random.Random(_SEED)
    results: dict[str, Mapping[str, float]] = {}
    best: dict[str, Mapping[str, float]] = {}
    for look in get_args(Look):
        asked = [(Character.random(rng), Scene.random(rng)) for _ in range(_SAMPLES)]
        wanted = [picture_tags(*one, look) for one in asked]
        best[look] = best_possible(work, tagger, asked, look)
        LOG.info("measure: true pictures, %s: %s", look, best[look])
        negative = NEGATIVE if look == "flat" else ""
        drawn, read = [], []
        for start in range(0, _SAMPLES, _AT_ONCE):
            prompts = tuple(prompt_text(tags) for tags in wanted[start : start + _AT_ONCE])
            drawn.append(sample(model, prompts, negative, seed=_SEED + start).clamp(-1, 1))
            with torch.no_grad():
                read.append(tagger(drawn[-1]))
        results[look] = followed(torch.cat(read), wanted)
        tile(to_pictures(torch.cat(drawn)[:_SHOWN]), 8).save(work / f"measure-{look}.png")
        LOG.info("measure step %d %s: %s", step, look, results[look])
    figures = {
        "step": step,
        "samples": _SAMPLES,
        "followed": results,
        "best possible": best,
        "vae_psnr_db": round(psnr_held_out(work), 2),
        "tagger": accuracy(work),
    }
    LOG.info("measure: VAE %s dB, tagger %s", figures["vae_psnr_db"], figures["tagger"])
    replace_file(work / "measure.json", lambda path: path.write_text(json.dumps(figures, indent=2)))


@torch.no_grad()
def best_possible(work: Path, tagger: Tagger, asked: Sequence[tuple[Character, Scene]], look: Look) -> dict[str, float]:
    """Returns what `followed` says of true pictures of what is asked for, as the VAE gives them back."""
    pixels = through_vae(work, np.stack([np.asarray(draw(*one, look)) for one in asked]))
    read = [tagger(to_tensor(part)) for part in np.array_split(pixels, max(1, len(pixels) // _AT_ONCE))]
    return followed(torch.cat(read), [picture_tags(*one, look) for one in asked])


def followed(logits: Tensor, wanted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Returns per family the share of pictures read as what their prompt asks for.

    A prompt that asks for none of a family's choices (closed eyes have no colour) does not count for that family.
    """
    shares = {}
    for family, choices in FAMILIES.items():
        truth = [_choice(choices, tags) for tags in wanted]
        answers = [read == true for read, true in zip(likeliest(choices, logits), truth, strict=True) if true >= 0]
        shares[family] = round(float(np.mean(answers)), 3)
    return shares


def likeliest(choices: Choices, logits: Tensor) -> list[int]:
    """Returns for each row of logits (N, labels) which choice is likeliest.

    With tags read independently, the log-likelihood of a choice is the sum of its tags' logits, up to a constant.
    """
    index = {label: k for k, label in enumerate(LABELS)}
    sums = [logits[:, [index[tag] for tag in tags]].sum(1) for tags in choices]
    return torch.stack(sums, 1).argmax(1).tolist()


def _choice(choices: Choices, tags: Sequence[str]) -> int:
    """Returns which choice the tags name, the one of most tags if several fit; -1 if none does."""
    fitting = [k for k, choice in enumerate(choices) if set(choice) <= set(tags)]
    return max(fitting, key=lambda k: len(choices[k]), default=-1)
