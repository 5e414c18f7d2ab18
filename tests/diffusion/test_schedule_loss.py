import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from lora_core.diffusion.schedule import (
    add_noise,
    alphas_cumprod,
    min_snr_weight,
    snr,
    target,
    weighted_mean,
    zero_terminal,
)


def test_the_schedule_is_stable_diffusions() -> None:
    alphas = alphas_cumprod()
    assert alphas.shape == (1000,)
    assert alphas[0].item() == pytest.approx(1 - 0.00085)  # the first beta
    product = 1.0
    for step in range(1000):  # the definition, in double precision
        product *= 1 - (math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * step / 999) ** 2
    assert alphas[-1].item() == pytest.approx(product, rel=1e-4)
    assert product == pytest.approx(0.00466, abs=1e-5)  # SD1's known terminal alpha


def test_a_schedule_with_zero_terminal_snr_is_diffusers() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    wanted = torch.cumprod(1 - rescale_zero_terminal_snr(betas.clone()), dim=0)
    rescaled = zero_terminal(alphas_cumprod())
    assert rescaled[-1] == 0
    assert rescaled[0].item() == pytest.approx(1 - 0.00085)
    torch.testing.assert_close(rescaled.double(), wanted, atol=1e-6, rtol=1e-4)


def test_noise_is_mixed_in_by_the_square_roots() -> None:
    latents, noise = torch.full((2, 1, 1, 1), 2.0), torch.full((2, 1, 1, 1), 3.0)
    mixed = add_noise(latents, noise, torch.tensor([0.64, 1.0]))
    assert mixed.flatten().tolist() == pytest.approx([0.8 * 2 + 0.6 * 3, 2.0])


def test_v_is_noise_minus_signal() -> None:
    latents, noise = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 3.0)
    alphas = torch.tensor([0.64])
    assert target(latents, noise, alphas, "epsilon").item() == pytest.approx(3.0)
    assert target(latents, noise, alphas, "v_prediction").item() == pytest.approx(0.8 * 3 - 0.6 * 2)


def test_snr_is_signal_over_noise() -> None:
    assert snr(torch.tensor([0.8, 0.5])).tolist() == pytest.approx([4.0, 1.0])


def test_min_snr_caps_easy_timesteps_only() -> None:
    ratios = torch.tensor([20.0, 5.0, 1.0])
    assert min_snr_weight(ratios, 5.0).tolist() == pytest.approx([0.25, 1.0, 1.0])
    assert min_snr_weight(ratios, 5.0, "v_prediction").tolist() == pytest.approx([5 / 21, 5 / 6, 1 / 2])


def test_weights_do_not_divide_the_loss() -> None:
    predicted = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    wanted = torch.zeros(2, 1, 1, 1)
    assert weighted_mean((predicted - wanted) ** 2, torch.tensor([1.0, 0.5])).item() == pytest.approx((1 + 0.5 * 4) / 2)
