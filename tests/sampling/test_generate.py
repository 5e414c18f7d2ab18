"""The denoising loop, against diffusers' own pipeline and against itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from lora_core.diffusion.components import Components, load_components
from lora_core.recipe import Sampling
from lora_core.sampling.generate import Shot, build_scheduler, generate

OPTIONS = Sampling(steps=4, width=64, height=96, batch=4, cfg=5.0)
SHOTS = (Shot("a girl", "bad", 1), Shot("a boy, night", "", 2), Shot("a girl", "bad", 3))
SCHEDULERS = ("euler_a", "dpmpp_2m_karras", "ddim")


def draw(components: Components, shots: Sequence[Shot], options: Sampling, clip_skip: int = 1) -> list[Image.Image]:
    return list(generate(components, shots, options, clip_skip))


def distance(one: Image.Image, other: Image.Image) -> int:
    """Largest difference in 8-bit levels."""
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_picture_is_the_one_that_diffusers_draws(components: Components, scheduler: str) -> None:
    options = OPTIONS.model_copy(update={"scheduler": scheduler})
    pipeline = StableDiffusionPipeline(
        vae=components.vae,
        unet=components.unet,
        text_encoder=components.text_encoders[0],
        tokenizer=components.tokenizers[0],
        scheduler=build_scheduler(scheduler, "epsilon"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(
        SHOTS[0].prompt,
        negative_prompt=SHOTS[0].negative,
        num_inference_steps=options.steps,
        guidance_scale=options.cfg,
        width=options.width,
        height=options.height,
        generator=torch.Generator().manual_seed(SHOTS[0].seed),
    ).images[0]
    assert distance(draw(components, SHOTS[:1], options)[0], wanted) <= 1


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_picture_does_not_depend_on_its_batch_mates(components: Components, scheduler: str) -> None:
    options = OPTIONS.model_copy(update={"scheduler": scheduler})
    together = draw(components, SHOTS, options)
    alone = [draw(components, [shot], options)[0] for shot in SHOTS]
    assert [distance(one, other) <= 1 for one, other in zip(together, alone, strict=True)] == [True] * 3
    reordered = draw(components, SHOTS[::-1], options)[::-1]
    assert [distance(one, other) <= 1 for one, other in zip(together, reordered, strict=True)] == [True] * 3


def test_the_same_shots_give_the_same_bytes(components: Components) -> None:
    first, second = (draw(components, SHOTS, OPTIONS) for _ in range(2))
    assert [picture.tobytes() for picture in first] == [picture.tobytes() for picture in second]


def test_seed_prompt_and_negative_prompt_change_the_picture(components: Components) -> None:
    shot = SHOTS[0]
    others = [replace(shot, seed=9), replace(shot, prompt="z"), replace(shot, negative="z")]
    plain, *changed = draw(components, [shot, *others], OPTIONS)
    assert all(distance(plain, picture) > 0 for picture in changed)


def test_clip_skip_changes_the_picture(components: Components) -> None:
    assert distance(draw(components, SHOTS[:1], OPTIONS, 1)[0], draw(components, SHOTS[:1], OPTIONS, 2)[0]) > 0


def test_pictures_are_rgb_of_the_asked_size(components: Components) -> None:
    picture = draw(components, SHOTS[:1], OPTIONS)[0]
    assert (picture.mode, picture.size) == ("RGB", (64, 96))


def test_without_guidance_the_negative_prompt_is_not_read(components: Components) -> None:
    options = OPTIONS.model_copy(update={"cfg": 1.0})
    one, other = (draw(components, [Shot("a", negative, 1)], options)[0] for negative in ("", "bad"))
    assert one.tobytes() == other.tobytes()


def test_a_single_step_works_with_every_scheduler(components: Components) -> None:
    for scheduler in SCHEDULERS:
        options = OPTIONS.model_copy(update={"scheduler": scheduler, "steps": 1})
        assert np.asarray(draw(components, SHOTS[:1], options)[0]).std() > 0


def test_escaped_brackets_are_read_as_brackets(components: Components) -> None:
    one, other = draw(components, [Shot(r"a \(b\)", "", 1), Shot("a (b)", "", 1)], OPTIONS)
    assert distance(one, other) <= 1


def test_progress_counts_steps_of_pictures(components: Components) -> None:
    heard: list[tuple[int, int, str]] = []
    options = OPTIONS.model_copy(update={"batch": 2, "steps": 2})

    def listen(done: int, total: int, note: str = "") -> None:
        heard.append((done, total, note))

    list(generate(components, SHOTS, options, 1, listen))
    assert heard == [(2, 6, "picture 2/3"), (4, 6, "picture 2/3"), (5, 6, "picture 3/3"), (6, 6, "picture 3/3")]


def test_a_bfloat16_model_draws_nearly_the_same(components: Components, base_files: Mapping[str, Path]) -> None:
    half = load_components(base_files, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert distance(draw(half, SHOTS[:1], OPTIONS)[0], draw(components, SHOTS[:1], OPTIONS)[0]) < 40
