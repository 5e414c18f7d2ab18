"""Samplers against k-diffusion's and A1111's formulas, which are written out here: sigma by sigma, noise by noise."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from flows.cli import files
from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import read_texts, token_ids
from lora_core.recipe import Sampling
from lora_core.recipe.evaluation import Scheduler
from lora_core.sampling.generate import generate, rescaled, to_latent, to_picture
from lora_core.sampling.schedulers import SAMPLER_NAMES, build_scheduler, settled
from lora_core.sampling.shot import Begin, Shot
from lora_core.sampling.work import drawn_size

OPTIONS = Sampling(steps=8, width=64, height=80, cfg=4.0, scheduler="euler")
Denoiser = Callable[[torch.Tensor, float], torch.Tensor]


def levels(*, zero: bool = False) -> np.ndarray:
    """Sigma of every timestep, in double precision."""
    alphas = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    if zero:
        roots = np.sqrt(alphas)
        alphas = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
        alphas[-1] = 4.8973451890853435e-08
    return np.sqrt((1 - alphas) / alphas)


def get_sigmas(known: np.ndarray, n: int) -> np.ndarray:
    """k-diffusion's DiscreteSchedule.get_sigmas."""
    timesteps = np.linspace(999, 0, n)
    low, high, share = np.floor(timesteps).astype(int), np.ceil(timesteps).astype(int), timesteps % 1
    return np.append(np.exp((1 - share) * np.log(known[low]) + share * np.log(known[high])), 0)


def get_sigmas_karras(known: np.ndarray, n: int) -> np.ndarray:
    """Karras et al. 2022, equation 5, with rho 7."""
    ends = known[-1] ** (1 / 7), known[0] ** (1 / 7)
    return np.append([(ends[0] + i / max(n - 1, 1) * (ends[1] - ends[0])) ** 7 for i in range(n)], 0)


def web_sigmas(name: str, known: np.ndarray, n: int) -> np.ndarray:
    return (get_sigmas_karras if name.endswith("karras") else get_sigmas)(known, n)


@pytest.mark.parametrize("steps", [20, 25, 28, 30])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("name", ["euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras"])
def test_sigmas_and_timesteps_are_k_diffusions(name: str, zero: bool, steps: int) -> None:
    known = levels(zero=zero)
    options = OPTIONS.model_copy(update={"scheduler": name, "steps": steps})
    made = build_scheduler(options, "v_prediction", zero_terminal_snr=zero)
    wanted = web_sigmas(name, known, steps)
    assert made.sigmas.numpy() == pytest.approx(wanted, rel=2e-4, abs=1e-7)
    timesteps = np.interp(np.log(wanted[:-1]), np.log(known), np.arange(1000))
    whole = name.endswith("karras") and not zero
    assert made.timesteps.numpy() == pytest.approx(timesteps, abs=0.51 if whole else 0.01)


def test_dpmpp_2m_ends_where_k_diffusions_does() -> None:
    made = build_scheduler(OPTIONS.model_copy(update={"scheduler": "dpmpp_2m", "steps": 25}), "epsilon")
    assert float(made.sigmas[-2]) == pytest.approx(0.0292, abs=1e-4)


def test_ddim_takes_a1111s_timesteps() -> None:
    options = OPTIONS.model_copy(update={"scheduler": "ddim", "steps": 30})
    made = build_scheduler(options, "epsilon")
    assert made.timesteps.tolist() == [*range(991, 1, -33)]


@pytest.mark.parametrize("steps", [20, 25, 28, 30])
@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_every_sampler_draws_with_zero_terminal_snr(components: Components, name: str, steps: int) -> None:
    told = replace(components, prediction_type="v_prediction", zero_terminal_snr=True)
    options = OPTIONS.model_copy(update={"scheduler": name, "steps": steps, "width": 16, "height": 16})
    (picture,) = generate(told, [Shot("a", "", 1)], options, 1)
    assert np.asarray(picture).std() > 0


def test_auto_goes_by_the_terminal_snr() -> None:
    auto = Sampling()
    assert settled(auto, zero_terminal_snr=False) == auto.model_copy(update={"scheduler": "dpmpp_2m_karras"})
    assert settled(auto, zero_terminal_snr=True) == auto.model_copy(update={"scheduler": "euler", "cfg_rescale": 0.7})
    chosen = auto.model_copy(update={"cfg_rescale": 0.3})
    assert settled(chosen, zero_terminal_snr=True).cfg_rescale == pytest.approx(0.3)
    named = Sampling(scheduler="ddim")
    assert settled(named, zero_terminal_snr=True) == named


def test_the_command_knows_every_sampler_of_the_recipe() -> None:
    assert get_args(files.Scheduler) == get_args(Scheduler) == ("auto", *SAMPLER_NAMES)


# ── whole pictures ────────────────────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def denoiser(components: Components, shot: Shot, options: Sampling, known: np.ndarray) -> Denoiser:
    """k-diffusion's CompVisDenoiser or CompVisVDenoiser inside A1111's CFGDenoiser."""
    texts = (shot.negative, shot.prompt)
    states = [
        read_texts(components, [token_ids(each, [text])[0] for each in components.tokenizers], 1).states
        for text in texts
    ]

    def denoised(x: torch.Tensor, sigma: float) -> torch.Tensor:
        timestep = torch.tensor(np.interp(np.log(sigma), np.log(known), np.arange(1000)), dtype=torch.float32)
        scaled = x / (sigma**2 + 1) ** 0.5
        outputs = [components.unet(scaled, timestep, each, return_dict=False)[0] for each in states]
        negative, prompt = (
            x - sigma * output
            if components.prediction_type == "epsilon"
            else x / (sigma**2 + 1) - sigma / (sigma**2 + 1) ** 0.5 * output
            for output in outputs
        )
        return negative + options.cfg * (prompt - negative)

    return denoised


def sample_euler(model: Denoiser, x: torch.Tensor, sigmas: np.ndarray, _: Callable[[], torch.Tensor]) -> torch.Tensor:
    for here, there in pairwise(sigmas):
        x = x + (x - model(x, here)) / here * (there - here)
    return x


def sample_euler_a(
    model: Denoiser, x: torch.Tensor, sigmas: np.ndarray, noise: Callable[[], torch.Tensor]
) -> torch.Tensor:
    for here, there in pairwise(sigmas):
        up = min(there, (there**2 * (here**2 - there**2) / here**2) ** 0.5)
        down = (there**2 - up**2) ** 0.5
        x = x + (x - model(x, here)) / here * (down - here)
        if there > 0:
            x = x + noise() * up
    return x


def sample_dpmpp_2m(
    model: Denoiser, x: torch.Tensor, sigmas: np.ndarray, _: Callable[[], torch.Tensor]
) -> torch.Tensor:
    former, width = None, 0.0
    for here, there in pairwise(sigmas):
        denoised = model(x, here)
        if there == 0:
            return denoised
        step = np.log(here / there)
        wanted = denoised
        if former is not None:
            ratio = width / step
            wanted = (1 + 1 / (2 * ratio)) * denoised - 1 / (2 * ratio) * former
        x = there / here * x - np.expm1(-step) * wanted
        former, width = denoised, step
    return x


WEB = {
    "euler": sample_euler,
    "euler_a": sample_euler_a,
    "dpmpp_2m": sample_dpmpp_2m,
    "dpmpp_2m_karras": sample_dpmpp_2m,
}


@torch.no_grad()
def web_picture(components: Components, shot: Shot, options: Sampling) -> Image.Image:
    """A1111's txt2img with "RNG: CPU", its img2img, and its hires fix with the Lanczos upscaler."""
    known = levels(zero=components.zero_terminal_snr)
    model, sampler = denoiser(components, shot, options, known), WEB[options.scheduler]

    def noises(width: int, height: int) -> Callable[[], torch.Tensor]:
        generator = torch.Generator().manual_seed(shot.seed)
        return lambda: torch.randn((1, 4, height // 8, width // 8), generator=generator)

    def from_picture(picture: Image.Image, size: tuple[int, int], denoise: float) -> torch.Tensor:
        """Of img2img, with the option "do exactly the amount of steps the slider specifies"; the hires pass is one."""
        whole = int(options.steps / min(denoise, 0.999))
        sigmas = web_sigmas(options.scheduler, known, whole)[whole - (options.steps - 1) - 1 :]
        noise = noises(*size)
        clean = to_latent(components, picture.resize(size, Image.Resampling.LANCZOS))
        return sampler(model, clean + noise() * sigmas[0], sigmas, noise)

    size = options.width, options.height
    if shot.begin:
        latents = from_picture(shot.begin.read(), size, shot.begin.denoise)
    else:
        noise, sigmas = noises(*size), web_sigmas(options.scheduler, known, options.steps)
        latents = sampler(model, noise() * sigmas[0], sigmas, noise)
    if options.hires > 1:
        picture = to_picture(components, latents[0].float())
        latents = from_picture(picture, drawn_size(options), options.hires_denoise)
    return to_picture(components, latents[0].float())


def distances(one: Image.Image, other: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int))


@pytest.mark.parametrize("hires", [1.0, 2.0])
@pytest.mark.parametrize("process", [("epsilon", False), ("v_prediction", False), ("v_prediction", True)], ids=str)
@pytest.mark.parametrize("name", ["euler", "euler_a", "dpmpp_2m"])
def test_a_picture_is_the_one_that_a_web_ui_draws(
    components: Components, name: str, process: tuple[str, bool], hires: float
) -> None:
    told = replace(components, prediction_type=process[0], zero_terminal_snr=process[1])
    options = OPTIONS.model_copy(update={"scheduler": name, "hires": hires, "hires_denoise": 0.4})
    shot = Shot("a girl", "bad", 3)
    (drawn,) = generate(told, [shot], options, 1)
    assert distances(drawn, web_picture(told, shot, options)).max() <= 1


@pytest.mark.parametrize("denoise", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("process", [("epsilon", False), ("v_prediction", True)], ids=str)
@pytest.mark.parametrize("name", ["euler", "euler_a", "dpmpp_2m"])
def test_a_picture_that_begins_with_another_is_the_one_of_a_web_uis_img2img(
    components: Components, name: str, process: tuple[str, bool], denoise: float
) -> None:
    told = replace(components, prediction_type=process[0], zero_terminal_snr=process[1])
    options = OPTIONS.model_copy(update={"scheduler": name})
    shown = Image.radial_gradient("L").convert("RGB")
    shot = Shot("a girl", "bad", 3, Begin("0" * 64, denoise, lambda: shown))
    (drawn,) = generate(told, [shot], options, 1)
    assert distances(drawn, web_picture(told, shot, options)).max() <= 1


def test_dpmpp_2m_karras_differs_by_the_rounding_of_timesteps_alone(components: Components) -> None:
    options = OPTIONS.model_copy(update={"scheduler": "dpmpp_2m_karras", "steps": 25})
    shot = Shot("a girl", "bad", 3)
    (drawn,) = generate(components, [shot], options, 1)
    difference = distances(drawn, web_picture(components, shot, options))
    assert difference.mean() < 2
    other = distances(drawn, web_picture(components, Shot("a girl", "bad", 4), options))
    assert other.mean() > 10 * difference.mean()


def test_rescaled_guidance_is_as_contrasted_as_the_prompt_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randn((2, 4, 8, 8), generator=generator)
    guided = 3 * prompt + torch.tensor([1.0, 5.0]).view(2, 1, 1, 1) * torch.randn((2, 4, 8, 8), generator=generator)
    whole, half = rescaled(guided, prompt, 1.0), rescaled(guided, prompt, 0.5)
    assert whole.flatten(1).std(dim=1).tolist() == pytest.approx(prompt.flatten(1).std(dim=1).tolist())
    assert torch.allclose(half, (whole + guided) / 2, atol=1e-5)
    assert rescaled(guided, prompt, 0.0) is guided
