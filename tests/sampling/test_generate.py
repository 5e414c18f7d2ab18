"""The denoising loop, against diffusers' own pipeline and against itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from lora_core.diffusion.components import Components, drawing_dtype, load_components
from lora_core.errors import CheckpointError
from lora_core.lora.attach import attach, detach
from lora_core.recipe import Sampling
from lora_core.sampling import generate as generating
from lora_core.sampling.generate import generate, to_latent, to_picture
from lora_core.sampling.schedulers import SAMPLER_NAMES, step_count
from lora_core.sampling.shot import Begin, Shot
from lora_core.sampling.work import drawn_size, pixels_drawn

OPTIONS = Sampling(steps=4, width=64, height=96, batch=4, cfg=5.0)
SHOTS = (Shot("a girl", "bad", 1), Shot("a boy, night", "", 2), Shot("a girl", "bad", 3))
SCHEDULERS = tuple(SAMPLER_NAMES)


def draw(components: Components, shots: Sequence[Shot], options: Sampling, clip_skip: int = 1) -> list[Image.Image]:
    return list(generate(components, shots, options, clip_skip))


def heard_steps(components: Components, options: Sampling) -> list[int]:
    heard: list[int] = []
    list(generate(components, SHOTS[:1], options, 1, lambda done, _, note="": heard.append(done)))
    return heard


def distance(one: Image.Image, other: Image.Image) -> int:
    """Largest difference in 8-bit levels."""
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


def test_the_default_draws_what_diffusers_draws_to_the_byte(components: Components) -> None:
    solver = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", use_karras_sigmas=True
    )
    pipeline = StableDiffusionPipeline(
        vae=components.vae,
        unet=components.unet,
        text_encoder=components.text_encoders[0],
        tokenizer=components.tokenizers[0],
        scheduler=solver,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    options = OPTIONS.model_copy(update={"steps": 25})
    wanted = pipeline(
        SHOTS[0].prompt,
        negative_prompt=SHOTS[0].negative,
        num_inference_steps=options.steps,
        guidance_scale=options.cfg,
        width=options.width,
        height=options.height,
        generator=torch.Generator().manual_seed(SHOTS[0].seed),
    ).images[0]
    assert draw(components, SHOTS[:1], options)[0].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_picture_does_not_depend_on_its_batch_mates(components: Components, scheduler: str) -> None:
    options = OPTIONS.model_copy(update={"scheduler": scheduler})
    together = draw(components, SHOTS, options)
    alone = [draw(components, [shot], options)[0] for shot in SHOTS]
    assert [distance(one, other) <= 1 for one, other in zip(together, alone, strict=True)] == [True] * 3
    reordered = draw(components, SHOTS[::-1], options)[::-1]
    assert [distance(one, other) <= 1 for one, other in zip(together, reordered, strict=True)] == [True] * 3


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_nor_do_pictures_that_begin_with_others_depend_on_what_is_drawn_beside_them(
    components: Components, scheduler: str
) -> None:
    options = OPTIONS.model_copy(update={"scheduler": scheduler})
    red, blue = (Image.new("RGB", (20, 20), colour) for colour in ("red", "blue"))
    begins = (
        Begin("1" * 64, 0.5, lambda: red),
        None,
        Begin("2" * 64, 0.5, lambda: blue),
        Begin("2" * 64, 0.9, lambda: blue),
    )
    shots = [replace(SHOTS[0], begin=begin) for begin in begins]
    together = draw(components, shots, options)
    alone = [draw(components, [shot], options)[0] for shot in shots]
    assert all(distance(one, other) <= 1 for one, other in zip(together, alone, strict=True))
    assert len({picture.tobytes() for picture in alone}) == 4


def test_the_less_noise_the_more_is_left_of_the_picture_that_it_begins_with(components: Components) -> None:
    picture = Image.radial_gradient("L").convert("RGB").resize((64, 96))
    kept = to_picture(components, to_latent(components, picture)[0])
    drawn = draw(
        components,
        [replace(SHOTS[0], begin=Begin("1" * 64, denoise, lambda: picture)) for denoise in (0.01, 0.3, 0.9)],
        OPTIONS.model_copy(update={"scheduler": "euler"}),
    )
    apart = [np.abs(np.asarray(one, dtype=int) - np.asarray(kept, dtype=int)).mean() for one in drawn]
    assert apart == sorted(set(apart))


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


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_sampler_takes_as_many_steps_as_were_counted(components: Components, scheduler: str) -> None:
    for steps, hires in ((1, 1.0), (3, 2.0), (30, 1.0)):
        options = OPTIONS.model_copy(update={"scheduler": scheduler, "steps": steps, "hires": hires, "width": 32})
        assert heard_steps(components, options) == list(range(1, step_count(options) + 1))


def test_a_single_step_works_with_every_scheduler(components: Components) -> None:
    for scheduler in SCHEDULERS:
        options = OPTIONS.model_copy(update={"scheduler": scheduler, "steps": 1})
        assert np.asarray(draw(components, SHOTS[:1], options)[0]).std() > 0


def test_escaped_brackets_are_read_as_brackets(components: Components) -> None:
    shots = [Shot(text, "", 1) for text in (r"a \(b\)", "a (b)", "a b")]
    brackets, emphasis, plain = draw(components, shots, OPTIONS)
    assert distance(brackets, emphasis) > 1
    assert distance(emphasis, plain) > 0


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


def test_progress_counts_the_hires_steps(components: Components) -> None:
    options = OPTIONS.model_copy(update={"hires": 2.0, "hires_denoise": 0.5, "batch": 2})
    heard: list[tuple[int, int]] = []
    list(generate(components, SHOTS, options, 1, lambda done, total, note="": heard.append((done, total))))
    assert step_count(options) == 8
    assert heard[-1] == (24, 24)
    assert drawn_size(options) == (128, 192)
    assert heard == sorted(heard)


def test_a_batch_that_memory_does_not_hold_is_drawn_in_halves(
    components: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = draw(components, SHOTS, OPTIONS)
    whole, sizes = generating._draw, []

    def small_memory(brush: object, shots: Sequence[Shot], told: object) -> torch.Tensor:
        sizes.append(len(shots))
        if len(shots) > 1:
            raise torch.OutOfMemoryError
        return whole(brush, shots, told)

    monkeypatch.setattr(generating, "_draw", small_memory)
    drawn = draw(components, SHOTS, OPTIONS)
    assert sizes == [3, 1, 2, 1, 1]
    assert max(distance(one, other) for one, other in zip(drawn, wanted, strict=True)) <= 1


def test_a_single_picture_that_memory_does_not_hold_is_told_with_its_size(
    components: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(generating, "_draw", no_memory)
    with pytest.raises(CheckpointError, match="one picture of 64×96 px; choose a smaller size"):
        draw(components, SHOTS[:1], OPTIONS)


def test_numbers_too_large_for_fp16_are_drawn_in_a_wider_format(
    base_files: Mapping[str, Path], small_lora: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = load_components(base_files, device=torch.device("cpu"), dtype=torch.float16)
    half.unet.conv_norm_out.weight.data.fill_(60000.0)
    half.unet.conv_out.weight.data.mul_(1e-4)
    attach(half, small_lora, 1.0)
    options = OPTIONS.model_copy(update={"steps": 2, "batch": 1})
    with_lora, *_ = draw(half, SHOTS, options)
    assert caplog.text.count("too large for fp16") == 1
    assert half.unet.dtype == torch.float32
    detach(half)
    without, *_ = draw(half, SHOTS, options)
    assert distance(with_lora, without) > 0


def test_a_gpu_draws_in_fp16_as_web_uis_do_but_for_sd2() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert [drawing_dtype(kind, gpu) for kind in ("sd1", "sdxl")] == [torch.float16] * 2
    assert drawing_dtype("sd2", gpu) in (torch.bfloat16, torch.float32)
    assert drawing_dtype("sd1", cpu) == torch.float32


@pytest.mark.parametrize(
    ("changed", "pixels"),
    [
        ({}, 2 * 10 * 64 * 96),
        ({"cfg": 1.0}, 10 * 64 * 96),
        ({"hires": 2.0}, 2 * 10 * (64 * 96 + 128 * 192)),
        # A1111's DDIM takes every 16th of 1,000 timesteps (1000 // 60), the first aside: 62.
        ({"scheduler": "ddim", "steps": 60, "cfg": 1.0}, 62 * 64 * 96),
    ],
)
def test_the_cost_of_a_picture_is_its_pixels_in_every_step_of_both_passes(changed: dict[str, Any], pixels: int) -> None:
    options = Sampling(prompts=("x",), width=64, height=96, steps=10, cfg=7.0).model_copy(update=changed)
    assert pixels_drawn(options) == pixels
