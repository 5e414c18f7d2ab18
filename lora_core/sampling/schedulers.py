"""Samplers by the names that web UIs give them: diffusers' solvers on k-diffusion's noise levels.

sigma is the noise's deviation beside a signal of deviation 1, sqrt((1 - alpha) / alpha) of a cumulative alpha.
"""

from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)

from lora_core.diffusion.schedule import TRAIN_STEPS, alphas_cumprod, zero_terminal
from lora_core.recipe import Sampling

SAMPLER_NAMES: dict[str, str] = {
    "euler_a": "Euler a",
    "euler": "Euler",
    "dpmpp_2m_karras": "DPM++ 2M Karras",
    "dpmpp_2m": "DPM++ 2M",
    "ddim": "DDIM",
}
"""The recipe's name → what A1111 writes into a picture. "auto" is decided first, by `settled`."""

_LAST_ALPHA = 4.8973451890853435e-08
"""What A1111 and ComfyUI leave of the signal at the last timestep of a zero-terminal-SNR schedule, so that its sigma,
4,519, is a number."""
_RESCALE = 0.7
"""Lin et al. 2023 (arXiv:2305.08891), section 3.4."""
_MOST_DENOISED = 0.999

Sigmas = np.ndarray[Any, np.dtype[np.float64]]


def settled(options: Sampling, *, zero_terminal_snr: bool) -> Sampling:
    """The options with "auto" decided: Euler with CFG rescale for zero terminal SNR, DPM++ 2M Karras for all others.

    Karras' sigmas are spaced from the largest on: with one of 4,519, 17 of 25 steps would lie above 14.6, where other
    models begin.
    """
    if options.scheduler != "auto":
        return options
    if not zero_terminal_snr:
        return options.model_copy(update={"scheduler": "dpmpp_2m_karras"})
    return options.model_copy(update={"scheduler": "euler", "cfg_rescale": options.cfg_rescale or _RESCALE})


def training_sigmas(*, zero_terminal_snr: bool = False) -> Sigmas:
    """(1000,) sigma of every timestep, rising."""
    alphas = alphas_cumprod()
    if zero_terminal_snr:
        alphas = zero_terminal(alphas)
        alphas[-1] = _LAST_ALPHA
    values = np.asarray(alphas.double(), dtype=np.float64)
    return np.asarray(np.sqrt((1 - values) / values))


def uniform_sigmas(known: Sigmas, steps: int) -> Sigmas:
    """(steps + 1,) sigmas of timesteps spaced evenly from the last to the first, then 0: k-diffusion's `get_sigmas`.

    Between two timesteps the logarithm of sigma is interpolated.
    """
    timesteps = np.linspace(len(known) - 1, 0, steps)
    return np.append(np.exp(np.interp(timesteps, np.arange(len(known)), np.log(known))), 0.0)


def karras_sigmas(known: Sigmas, steps: int, rho: float = 7.0) -> Sigmas:
    """(steps + 1,) sigmas from the largest to the smallest, evenly in sigma^(1/rho), then 0.

    Source: Karras et al. 2022 (arXiv:2206.00364), equation 5.
    """
    ramp = np.linspace(0, 1, steps)
    least, most = known[0] ** (1 / rho), known[-1] ** (1 / rho)
    return np.append((most + ramp * (least - most)) ** rho, 0.0)


def timesteps_of(known: Sigmas, sigmas: Sigmas) -> Sigmas:
    """The timesteps of sigmas, between whole ones too: k-diffusion's `sigma_to_t`."""
    return np.interp(np.log(sigmas), np.log(known), np.arange(len(known)))


def second_pass(steps: int, denoise: float) -> tuple[int, int]:
    """(steps of the schedule, the first that is taken) of a pass from a picture, so that `steps` of them are taken.

    As A1111 does it in its hires pass, and in img2img where it is to do "exactly the amount of steps the slider
    specifies": 25 steps at a denoising strength of 0.5 are the last 25 of a schedule of 50.
    """
    whole = int(steps / min(denoise, _MOST_DENOISED))
    return whole, whole - steps


def step_count(options: Sampling) -> int:
    """Passes through the U-Net for one picture, those of the hires pass included."""
    each = len(_ddim_timesteps(options.steps)) if options.scheduler == "ddim" else options.steps
    if options.hires <= 1:
        return each
    second = len(_ddim_part(options.steps, options.hires_denoise)) if options.scheduler == "ddim" else options.steps
    return each + second


def build_scheduler(
    options: Sampling,
    prediction_type: str,
    *,
    zero_terminal_snr: bool = False,
    denoise: float | None = None,
    device: torch.device | None = None,
) -> Any:
    """A sampler that stands before its first step, on Stable Diffusion's "scaled_linear" noise schedule.

    Sigmas, timesteps and the first noise are A1111's, except that DPM++ 2M Karras takes whole timesteps and begins at
    pure noise of deviation 1 (A1111: 0.998), as diffusers does. With zero terminal SNR the schedule is rescaled (Lin et
    al. 2023, section 3.1). DPM++ 2M SDE is not here: its noise in k-diffusion is a Brownian tree's of torchsde, which
    needs SciPy, and without it no picture of a web UI's comes out again.

    Args:
        options: sampler and steps; "auto" is decided already.
        prediction_type: "epsilon" or "v_prediction".
        zero_terminal_snr: as the base was trained.
        denoise: of a pass that begins with a picture, such as the hires pass: its first step is as noisy as this
            denoising strength says. None: it begins with noise alone.
        device: of the timesteps.
    """
    settings: dict[str, Any] = {
        "num_train_timesteps": TRAIN_STEPS,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": prediction_type,
        "steps_offset": 1,
    }
    known, name = training_sigmas(zero_terminal_snr=zero_terminal_snr), options.scheduler
    whole, first = (options.steps, 0) if denoise is None else second_pass(options.steps, denoise)
    if name == "ddim":
        return _ddim(options, settings, known, whole, device, denoise)
    made = _solver(name, settings)
    made.set_timesteps(whole, device=device)
    if zero_terminal_snr or not name.endswith("karras"):
        sigmas = karras_sigmas(known, whole) if name.endswith("karras") else uniform_sigmas(known, whole)
        made.sigmas = torch.from_numpy(sigmas.astype(np.float32))
        made.timesteps = torch.from_numpy(timesteps_of(known, sigmas[:-1]).astype(np.float32)).to(device)
        if name.startswith("dpmpp"):  # it counts with latents of deviation 1
            made.init_noise_sigma = float(sigmas[0] / np.sqrt(sigmas[0] ** 2 + 1))
    made.sigmas, made.timesteps = made.sigmas[first:], made.timesteps[first:]
    made.set_begin_index(0)  # else it looks its place up by the timestep, of which two can be the same
    return made


def _solver(name: str, settings: dict[str, Any]) -> Any:
    if name.startswith("euler"):
        return (EulerAncestralDiscreteScheduler if name == "euler_a" else EulerDiscreteScheduler)(**settings)
    return DPMSolverMultistepScheduler(
        **settings, algorithm_type="dpmsolver++", use_karras_sigmas=name.endswith("karras")
    )


def _ddim(
    options: Sampling,
    settings: dict[str, Any],
    known: Sigmas,
    whole: int,
    device: torch.device | None,
    denoise: float | None,
) -> Any:
    made = DDIMScheduler(**settings, clip_sample=False, set_alpha_to_one=False)
    made.alphas_cumprod = torch.from_numpy((1 / (known**2 + 1)).astype(np.float32))
    made.final_alpha_cumprod = made.alphas_cumprod[0]
    made.set_timesteps(min(whole, TRAIN_STEPS), device=device)
    timesteps = _ddim_timesteps(whole) if denoise is None else _ddim_part(options.steps, denoise)
    made.timesteps = torch.tensor(timesteps, device=device)
    return made


def _ddim_timesteps(steps: int) -> list[int]:
    """A1111's: every (1000 // steps)th from 1 on, the last first; the step from 1 on is not taken."""
    rising = [min(timestep + 1, TRAIN_STEPS - 1) for timestep in range(0, TRAIN_STEPS, max(1, TRAIN_STEPS // steps))]
    return rising[:0:-1] or rising


def _ddim_part(steps: int, denoise: float) -> list[int]:
    """Of a pass from a picture."""
    return _ddim_timesteps(second_pass(steps, denoise)[0])[-max(1, steps - 1) :]
