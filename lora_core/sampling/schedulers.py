"""Samplers by the names that web UIs give them."""

from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)

from lora_core.recipe.evaluation import Scheduler

SAMPLER_NAMES: dict[Scheduler, str] = {
    "euler_a": "Euler a",
    "euler": "Euler",
    "dpmpp_2m_karras": "DPM++ 2M Karras",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde_karras": "DPM++ 2M SDE Karras",
    "ddim": "DDIM",
}
"""The recipe's name → what A1111 writes into a picture."""


def build_scheduler(name: str, prediction_type: str, *, zero_terminal_snr: bool = False) -> Any:
    """A sampler by the recipe's name, on Stable Diffusion's "scaled_linear" noise schedule.

    Euler and Euler a space their steps evenly over the training timesteps and the Karras ones over the sigmas of Karras
    et al. 2022, eq. 5, both as k-diffusion does; DDIM is CompVis'. With zero terminal SNR the schedule is rescaled and
    the steps begin at the last timestep (Lin et al. 2023, sections 3.1 and 3.3).
    """
    schedule: dict[str, Any] = {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": prediction_type,
        "steps_offset": 1,
    }
    if zero_terminal_snr:
        schedule |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    if name.startswith("euler"):
        kind = EulerAncestralDiscreteScheduler if name == "euler_a" else EulerDiscreteScheduler
        return kind(**schedule)
    if name.startswith("dpmpp_2m"):
        return DPMSolverMultistepScheduler(
            **schedule,
            algorithm_type="sde-dpmsolver++" if "sde" in name else "dpmsolver++",
            use_karras_sigmas=name.endswith("karras"),
        )
    return DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False)
