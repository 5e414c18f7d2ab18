"""SDXL and v-prediction: pictures, epochs and checks, against diffusers' pipeline and against exact models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from PIL import Image

from lora_core.diffusion.components import Components
from lora_core.errors import RecipeError
from lora_core.hub import find_model_files
from lora_core.lora.file import write_lora
from lora_core.lora.inject import inject
from lora_core.recipe import Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling.epochs import sample_epochs, sample_merged
from lora_core.sampling.generate import generate
from lora_core.sampling.sampler import SamplerConfig
from lora_core.sampling.samples import load_samples
from lora_core.sampling.schedulers import build_scheduler, training_sigmas
from lora_core.sampling.shot import Shot
from lora_core.store import Store

OPTIONS = Sampling(prompts=("{trigger}, smile",), seeds=(1,), steps=3, width=96, height=64, batch=4, cfg=5.0)
SHOTS = (Shot("a girl", "bad", 1), Shot("a boy, night", "", 2))
SCHEDULERS = ("euler_a", "dpmpp_2m_karras", "ddim")


@pytest.fixture(scope="module")
def single(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(workshop.single_file(tmp_path_factory.mktemp("xl") / "xl.safetensors", "sdxl"))


@pytest.fixture(scope="module")
def xl(workshop: Any, single: Path) -> Components:
    base: Components = workshop.load(single)
    return base


@pytest.fixture
def xl_base(store: Store, single: Path) -> CheckpointRef:
    return CheckpointRef(sha256=store.put_tree(find_model_files(str(single), "")))


@pytest.fixture
def xl_lora(store: Store, workshop: Any, single: Path, tmp_path: Path) -> LoraRef:
    layers = inject(workshop.load(single), rank=2, alpha=2.0, unet=True, text_encoder=True, seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in layers:
        layer.up.data.normal_(0, 0.5, generator=generator)
    write_lora(
        tmp_path / "Mira.safetensors",
        {layer.name: layer.in_file() for layer in layers},
        dtype=torch.float32,
        metadata={},
    )
    return LoraRef(sha256=store.put_tree({"Mira.safetensors": tmp_path / "Mira.safetensors"}))


def distance(one: Image.Image, other: Image.Image) -> int:
    """Largest difference in 8-bit levels."""
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


@pytest.mark.parametrize("negative", ["bad", ""])
def test_an_sdxl_picture_is_the_one_that_diffusers_draws(xl: Components, negative: str) -> None:
    """An empty negative prompt is zeros for both."""
    solver = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", use_karras_sigmas=True
    )
    pipeline = StableDiffusionXLPipeline(
        vae=xl.vae,
        text_encoder=xl.text_encoders[0],
        text_encoder_2=xl.text_encoders[1],
        tokenizer=xl.tokenizers[0],
        tokenizer_2=xl.tokenizers[1],
        unet=xl.unet,
        scheduler=solver,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(
        SHOTS[0].prompt,
        negative_prompt=negative or None,
        num_inference_steps=OPTIONS.steps,
        guidance_scale=OPTIONS.cfg,
        width=OPTIONS.width,
        height=OPTIONS.height,
        generator=torch.Generator().manual_seed(SHOTS[0].seed),
    ).images[0]
    (drawn,) = generate(xl, [replace(SHOTS[0], negative=negative)], OPTIONS, 1)
    assert drawn.size == (96, 64)
    assert distance(drawn, wanted) <= 1


def test_an_sdxl_picture_does_not_depend_on_its_batch_mates(xl: Components) -> None:
    together = list(generate(xl, SHOTS, OPTIONS, 1))
    alone = [next(generate(xl, [shot], OPTIONS, 1)) for shot in SHOTS]
    assert [distance(one, other) <= 1 for one, other in zip(together, alone, strict=True)] == [True] * 2
    assert distance(*together) > 1


def test_without_guidance_an_sdxl_picture_needs_no_negative_prompt(xl: Components) -> None:
    options = OPTIONS.model_copy(update={"cfg": 1.0})
    one, other = (next(generate(xl, [Shot("a", negative, 1)], options, 1)) for negative in ("", "bad"))
    assert one.tobytes() == other.tobytes()


def test_clip_skip_three_is_refused_for_sdxl(xl: Components) -> None:
    with pytest.raises(RecipeError, match="leave it at 1 or 2"):
        next(generate(xl, SHOTS, OPTIONS, 3))


def test_epochs_and_checks_are_drawn_on_sdxl(store: Store, xl_base: CheckpointRef, xl_lora: LoraRef) -> None:
    ref = sample_epochs(store, xl_base, xl_lora, OPTIONS, SamplerConfig(1, Process(), "cpu"), trigger="hc_mira")
    drawn = load_samples(store, ref)
    assert drawn.epochs == ("none", "1")
    bare, with_lora = (Image.open(store.path(drawn.of(epoch)[0].image)) for epoch in drawn.epochs)
    assert distance(bare, with_lora) > 1
    check = sample_merged(store, xl_base, ("a",), OPTIONS, SamplerConfig(1, Process(), "cpu"))
    assert load_samples(store, check).epochs == ("merged",)


def test_what_the_recipe_says_of_the_process_is_part_of_what_a_picture_is_kept_under(
    store: Store, xl_base: CheckpointRef
) -> None:
    images = []
    for process in (Process(), Process(prediction="v_prediction")):
        ref = sample_merged(store, xl_base, ("a",), OPTIONS, SamplerConfig(1, process, "cpu"))
        images.append(load_samples(store, ref).samples[0].image)
    assert images[0] != images[1]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(
    ("prediction", "zero"), [("epsilon", False), ("v_prediction", False), ("v_prediction", True)], ids=str
)
def test_a_model_that_knows_the_one_picture_there_is_draws_it(scheduler: str, prediction: str, zero: bool) -> None:
    """For data of a single point the exact prediction is known, and every sampler has to end at that point."""
    options = OPTIONS.model_copy(update={"scheduler": scheduler, "steps": 20})
    sampler = build_scheduler(options, prediction, zero_terminal_snr=zero)
    known = training_sigmas(zero_terminal_snr=zero)
    generator = torch.Generator().manual_seed(0)
    point = torch.randn((1, 4, 4, 4), generator=generator)
    latents = torch.randn((1, 4, 4, 4), generator=generator) * sampler.init_noise_sigma
    for timestep in sampler.timesteps:
        scaled = sampler.scale_model_input(latents, timestep)
        alpha = torch.tensor(1 / (np.interp(float(timestep), np.arange(1000), known) ** 2 + 1))
        noise = (scaled - alpha.sqrt() * point) / (1 - alpha).sqrt()
        exact = noise if prediction == "epsilon" else alpha.sqrt() * noise - (1 - alpha).sqrt() * point
        latents = sampler.step(exact.float(), timestep, latents, generator=generator, return_dict=False)[0]
    assert (latents - point).abs().max() < 0.2  # DDIM leaves the noise of timestep 1
