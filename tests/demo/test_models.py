"""The demo's exported models: they load as anybody would load them, and they see what is drawn."""

import csv
import random
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image

from demo.world import Character, Scene, draw, picture_tags
from demo.world.tags import VOCABULARY, Look

MODELS = Path(__file__).resolve().parents[2] / "demo" / "models"
BOUND_LOOK = 0.95
BOUND_HAIR = 0.95
BOUND_PSNR = 24.0

Pictures = tuple[np.ndarray, list[tuple[str, ...]]]


@cache
def fresh_pictures() -> Pictures:
    """Returns 60 pictures that no training saw (the trainings' seeds are above twenty million), and their tags."""
    rng = random.Random(77)
    pixels, tags = [], []
    for k in range(60):
        look: Look = "solid" if k % 2 else "flat"
        character, scene = Character.random(rng), Scene.random(rng)
        pixels.append(np.asarray(draw(character, scene, look)))
        tags.append(picture_tags(character, scene, look))
    return np.stack(pixels), tags


def labels() -> list[dict[str, str]]:
    with (MODELS / "tagger" / "selected_tags.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def scores() -> np.ndarray:
    session = onnxruntime.InferenceSession(MODELS / "tagger" / "model.onnx")
    bgr = fresh_pictures()[0][..., ::-1].astype(np.float32)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: bgr})[0])


def score_of(tag: str) -> np.ndarray:
    return scores()[:, [row["name"] for row in labels()].index(tag)]


def test_label_rows_are_ratings_then_tags_then_a_character() -> None:
    categories = [row["category"] for row in labels()]
    assert categories == ["9"] * 4 + ["0"] * len(VOCABULARY) + ["4"]
    assert [row["name"] for row in labels()[4:-1]] == list(VOCABULARY)


def test_the_tagger_gives_one_probability_a_label() -> None:
    assert scores().shape == (60, len(labels()))
    assert scores().min() >= 0
    assert scores().max() <= 1


def test_the_tagger_tells_the_two_looks_apart() -> None:
    truth = np.array(["realistic" in tags for tags in fresh_pictures()[1]])
    assert ((score_of("realistic") > 0.5) == truth).mean() >= BOUND_LOOK


def test_the_tagger_reads_the_colour_of_the_hair() -> None:
    colors = [f"{color}_hair" for color in ("blonde", "brown", "black", "red", "pink", "blue", "green", "white")]
    read = np.stack([score_of(color) for color in colors], 1).argmax(1)
    truth = [colors.index(next(tag for tag in tags if tag in colors)) for tags in fresh_pictures()[1]]
    assert (read == truth).mean() >= BOUND_HAIR


@torch.no_grad()
def test_the_autoencoder_gives_fresh_pictures_back() -> None:
    vae = AutoencoderKL.from_pretrained(MODELS / "base" / "vae", torch_dtype=torch.float32)
    assert vae.config.scaling_factor == pytest.approx(0.18215)
    images = torch.from_numpy(fresh_pictures()[0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = vae.encode(images).latent_dist.mode() * 0.18215
    assert latents.mean().abs() < 0.2
    assert latents.std() == pytest.approx(1, abs=0.15)
    decoded = vae.decode(latents / 0.18215).sample.clamp(-1, 1)
    error = ((decoded - images) ** 2).mean((1, 2, 3))
    assert (10 * torch.log10(4 / error)).mean() >= BOUND_PSNR


def test_the_base_loads_as_a_pipeline_and_draws() -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(MODELS / "base", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.tokenizer("1girl, pink hair").input_ids[0] == pipeline.tokenizer.bos_token_id
    picture = pipeline("1girl, pink hair", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert isinstance(picture, Image.Image)
    assert picture.size == (128, 128)


def test_everything_weighs_less_than_30_megabytes() -> None:
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < 30e6
