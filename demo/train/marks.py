"""The mark probe's training: characters with and without a mark, as drawn and softened as an autoencoder does.

That costs no pass through the autoencoder; whether it reads what comes out of that is measured on held-out pictures.
"""

import logging
import random
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from demo.proof.marks import HIDDEN_TRAITS, VISIBLE_IN, MarkProbe
from demo.proof.probe import SIDE_PX
from demo.train.loop import DEVICE, Budget, fit, load_average
from demo.train.probe import LARGEST_NOISE, Pixels, drawn_once, through, write_probe
from demo.train.vae import to_tensor
from demo.world.character import Character, Mark
from demo.world.draw import draw
from demo.world.scene import Scene
from demo.world.solid import Finish

LOG = logging.getLogger(__name__)

_PICTURES: Final = 3200
"""Two by two the same but for the mark, so that it is all there is to learn from."""
_HELD_OUT: Final = 400
_MEASURED: Final = 200
"""Of these, through the autoencoder."""
_BATCH: Final = 32
_SOFTEST_PX: Final = 44
"""Detail that is left at least, of 128 pixels a side."""
_LARGEST_NOISE: Final = 0.25
# No picture of the other trainings: the look probe's seeds begin at 60 million, all others above 100 million.
_FIRST_PICTURE: Final = 70_000_000
_SEED: Final = 707
_UNKNOWN: Final = -1.0


def train(work: Path, models: Path, minutes: float | None) -> None:
    """Trains the probe and writes `models/probe/marks.safetensors`, its accuracy in the file's metadata."""
    drawn = drawn_once(work / "marks-pictures.npy", _PICTURES, _draw)
    truth = np.array([_truth(*_subject(k)[:2]) for k in range(_PICTURES)], np.float32)
    torch.manual_seed(_SEED)
    probe = MarkProbe()

    def loss_of(step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng((_SEED, step))
        firsts = 2 * rng.integers(0, (len(drawn) - _HELD_OUT) // 2, _BATCH // 2)
        chosen = np.concatenate([firsts, firsts + 1])
        # Channels change places: no colour may give a mark away.
        logits = probe(_softened(to_tensor(drawn[chosen][..., rng.permutation(3)]), rng).to(DEVICE))
        wanted = torch.from_numpy(truth[chosen]).to(logits)
        told = (wanted != _UNKNOWN).float()
        loss = functional.binary_cross_entropy_with_logits(logits, wanted.clamp(0, 1), told, reduction="sum")
        wrong = (((logits > 0) != (wanted > 0.5)).float() * told).sum() / told.sum()
        return loss / told.sum(), {"wrong": float(wrong)}

    fit("marks", work, {"probe": probe}, loss_of, Budget(steps=1500, minutes=minutes or 8, lr=2e-3, ema=0.99))
    load_average(work / "marks.safetensors", {"probe": probe})
    probe.cpu().eval()
    vae = AutoencoderKL.from_pretrained(models / "base" / "vae", torch_dtype=torch.float32).to(DEVICE).eval()
    some = drawn[-_MEASURED:]
    kinds = {
        "drawn": drawn[-_HELD_OUT:],
        "through the VAE": through(vae, some, noise=0.0),
        "from noisy latents": through(vae, some, noise=LARGEST_NOISE),
    }
    found = {name: _accuracy(probe, pixels, truth[-len(pixels) :]) for name, pixels in kinds.items()}
    LOG.info("marks, balanced accuracy on held-out pictures: %s", found)
    write_probe(models / "probe" / "marks.safetensors", probe, found)


def _subject(k: int) -> tuple[Character, Scene, random.Random]:
    """Who is drawn, and the generator after that."""
    rng = random.Random(_FIRST_PICTURE + k // 2)
    marks: list[Mark] = rng.sample(get_args(Mark), 2)
    character = Character.random(rng).model_copy(update={"mark": marks[k % 2]})
    return character, Scene.random(rng), rng


def _truth(character: Character, scene: Scene) -> list[float]:
    """For each hidden trait 1, 0, or unknown: where it cannot be seen."""
    return [
        float(scene.composition in VISIBLE_IN[trait]) or _UNKNOWN if character.mark == trait else 0.0
        for trait in HIDDEN_TRAITS
    ]


def _draw(k: int) -> Pixels:
    character, scene, rng = _subject(k)
    look: Literal["flat", "solid"] = "solid" if k // 2 % 2 else "flat"
    return np.asarray(draw(character, scene, look, SIDE_PX, Finish.random(rng)))


def _softened(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Returns a third of the batches as they are, the others (B, 3, 128, 128) with less detail and smooth noise."""
    if rng.random() < 1 / 3:
        return images
    side = int(rng.integers(_SOFTEST_PX, SIDE_PX))
    coarse = functional.interpolate(images, size=side, mode="area")
    noise = torch.from_numpy(rng.standard_normal((len(images), 3, 16, 16), dtype=np.float32)) * rng.uniform(
        0, _LARGEST_NOISE
    )
    noise = functional.interpolate(noise, size=SIDE_PX, mode="bilinear")
    return (functional.interpolate(coarse, size=SIDE_PX, mode="bilinear") + noise).clamp(-1, 1)


@torch.no_grad()
def _accuracy(probe: MarkProbe, pixels: Pixels, truth: NDArray[np.float32]) -> str:
    """Returns each trait's balanced accuracy: the mean of how often it is found where it is, and not where not."""
    logits = torch.cat([probe(to_tensor(pixels[k : k + 50])) for k in range(0, len(pixels), 50)]).numpy()
    rates = []
    for number, trait in enumerate(HIDDEN_TRAITS):
        found, is_there, absent = logits[:, number] > 0, truth[:, number] == 1, truth[:, number] == 0
        rates.append(f"{trait} {(found[is_there].mean() + (~found[absent]).mean()) / 2:.3f}")
    return ", ".join(rates)
