"""Changed noise: offset, several resolutions, perturbation; drawn for every sample on its own."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import interpolate

from lora_core.dataset import Entry, Manifest
from lora_core.device import counter_generator
from lora_core.diffusion.schedule import multires_noise, offset_noise
from lora_core.recipe import Noise, Training
from lora_core.training.batch import Batch, draw_batch
from lora_core.training.samples import Sample, TrainingSet, pictures_of


def batch(noise: Noise, positions: range = range(4), epoch: int = 0) -> Batch:
    entry = Entry(name="a", source="a.png", image="0" * 64, width=64, height=64, caption=("hc_hero", "1girl"))
    pictures = pictures_of((TrainingSet(Manifest(entries=(entry,)), 1, False, "", 64),))
    samples = [Sample(0, position) for position in positions]
    options = Training(noise=noise, shuffle_caption=True, caption_dropout=0.5)
    return draw_batch(samples, pictures, [torch.zeros(4, 16, 8)], options, epoch)


def test_an_offset_shifts_each_channel_as_a_whole() -> None:
    noise = torch.randn(4, 8, 8)
    shifts = torch.randn((4, 1, 1), generator=counter_generator(1))
    assert torch.equal(offset_noise(noise, 0.1, counter_generator(1)), noise + 0.1 * shifts)
    many = batch(Noise(offset=0.5), range(500)).noise
    assert many.mean(dim=(2, 3)).std().item() == pytest.approx((0.25 + 1 / 128) ** 0.5, rel=0.05)


def test_several_resolutions_add_up_level_by_level() -> None:
    noise = torch.randn(4, 16, 8)
    generator = counter_generator(2)
    wanted = noise[None]
    for level in range(3):
        ratio = (2 + 2 * torch.rand((), generator=generator).item()) ** level
        size = (max(1, int(16 / ratio)), max(1, int(8 / ratio)))
        coarse = torch.randn((1, 4, *size), generator=generator)
        wanted = wanted + 0.3**level * interpolate(coarse, (16, 8), mode="bilinear")
    wanted = wanted[0] / wanted[0].std()
    torch.testing.assert_close(multires_noise(noise, 3, 0.3, counter_generator(2)), wanted)


def test_levels_end_at_a_side_of_one() -> None:
    noise = torch.randn(4, 4, 4)
    ten, hundred = (multires_noise(noise, count, 0.9, counter_generator(3)) for count in (10, 100))
    assert torch.equal(ten, hundred)
    assert ten.std().item() == pytest.approx(1.0)


def test_a_perturbation_is_mixed_in_but_not_to_be_predicted() -> None:
    plain, perturbed = batch(Noise(), range(50)), batch(Noise(input_perturbation=0.1), range(50))
    assert torch.equal(plain.noise, perturbed.noise)
    assert plain.perturbation is None
    assert perturbed.perturbation is not None
    assert perturbed.perturbation.std().item() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize(
    "noise", [Noise(), Noise(offset=0.1, input_perturbation=0.1), Noise(multires_iterations=4)], ids=str
)
def test_noise_depends_on_seed_epoch_and_position_alone(noise: Noise) -> None:
    whole, first, rest = batch(noise), batch(noise, range(1)), batch(noise, range(1, 4))
    assert torch.equal(whole.noise, torch.cat((first.noise, rest.noise)))
    if whole.perturbation is not None and first.perturbation is not None and rest.perturbation is not None:
        assert torch.equal(whole.perturbation, torch.cat((first.perturbation, rest.perturbation)))
    assert not torch.equal(whole.noise, batch(noise, epoch=1).noise)


def test_no_option_moves_timesteps_or_captions() -> None:
    plain = batch(Noise())
    for noise in (Noise(offset=0.1), Noise(multires_iterations=4), Noise(input_perturbation=0.1)):
        changed = batch(noise)
        assert torch.equal(plain.timesteps, changed.timesteps)
        assert plain.captions == changed.captions


def test_offset_and_several_resolutions_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="set one of them to 0"):
        Noise(offset=0.1, multires_iterations=6)
