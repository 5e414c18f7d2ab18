"""Options that people know from sd-scripts, off by default: timesteps, tag dropout, Huber, rates and ranks by block."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_step import drawn_batch, load, prepared
from pydantic import ValidationError

from lora_core.dataset import Entry, Manifest
from lora_core.diffusion.schedule import huber_c, pseudo_huber
from lora_core.errors import RecipeError
from lora_core.lora.base import Target, targets
from lora_core.recipe import Network, Training
from lora_core.training.batch import Batch, draw_batch
from lora_core.training.samples import Sample, TrainingSet, pictures_of

TAGS = ("hc_hero", "1girl", "cat_ears", "smile", "night")


def batch(options: Training, count: int = 8) -> Batch:
    entry = Entry(name="a", source="a.png", image="0" * 64, width=64, height=64, caption=TAGS)
    pictures = pictures_of((TrainingSet(Manifest(entries=(entry,)), 1, False, "", 64, "hc_hero"),))
    return draw_batch([Sample(0, number) for number in range(count)], pictures, [torch.zeros(4, 2, 2)], options, 0)


def test_timesteps_stay_between_the_bounds() -> None:
    drawn = batch(Training(min_timestep=300, max_timestep=303), 60).timesteps
    assert set(drawn.tolist()) == {300, 301, 302}
    with pytest.raises(ValidationError, match="leaves nothing below max_timestep = 500"):
        Training(min_timestep=500, max_timestep=500)


def test_tag_dropout_leaves_out_its_share_of_the_tags_behind_those_that_are_kept() -> None:
    captions = [caption.split(", ") for caption in batch(Training(tag_dropout=0.3), 1000).captions]
    assert all(tags[0] == "hc_hero" for tags in captions)
    assert all(
        tags == [tag for tag in ("hc_hero", "1girl", "cat ears", "smile", "night") if tag in tags] for tags in captions
    )
    for tag in ("1girl", "cat ears", "smile", "night"):
        left_out = sum(tag not in tags for tags in captions)
        assert 240 < left_out < 360  # 4 standard errors of 14.5


def test_tag_dropout_moves_neither_noise_nor_timesteps() -> None:
    plain, dropped = batch(Training(shuffle_caption=True)), batch(Training(shuffle_caption=True, tag_dropout=0.5))
    assert torch.equal(plain.noise, dropped.noise)
    assert torch.equal(plain.timesteps, dropped.timesteps)


def test_hubers_c_falls_from_one_to_c_as_the_noise_grows() -> None:
    alphas, timesteps = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0, 500, 1000])
    assert huber_c(alphas, timesteps, 0.1, "snr").tolist() == pytest.approx([1.0, 0.9 / 4 + 0.1, 0.1])
    assert huber_c(alphas, timesteps, 0.1, "exponential").tolist() == pytest.approx([1.0, math.sqrt(0.1), 0.1])
    assert huber_c(alphas, timesteps, 0.1, "constant").tolist() == pytest.approx([0.1] * 3)


def test_pseudo_huber_is_a_square_for_small_errors_and_a_line_for_large_ones() -> None:
    errors = torch.tensor([0.001, 3.0, 400.0]).view(3, 1, 1, 1)
    found = pseudo_huber(errors, torch.tensor([4.0, 4.0, 4.0])).flatten().tolist()
    assert found == pytest.approx([1e-6, 8.0, 8 * (400 - 4)], rel=0.02)  # 2 · 4 · (5 - 4) in the middle


@pytest.mark.parametrize("kind", ["huber", "smooth_l1"])
def test_a_step_with_huber_is_the_written_out_one(tiny_base: Path, kind: str) -> None:
    drawn, seen = drawn_batch(), []
    options = Training.model_validate({"loss": kind, "huber_c": 0.2, "huber_schedule": "exponential"})
    stepper, _, _ = prepared(tiny_base, options, "epsilon")
    stepper._components.unet.register_forward_hook(lambda *call: seen.append(call[-1][0].detach()))
    loss = stepper.loss(drawn).item()
    c = [0.2 ** (step / 1000) for step in (5, 400, 990)]
    own = []
    for number, (said, noise) in enumerate(zip(seen[0], drawn.noise, strict=True)):
        scale = 2 * c[number] if kind == "huber" else 2
        errors = scale * (((said - noise) ** 2 + c[number] ** 2).sqrt() - c[number])
        own.append(errors.mean().item() * drawn.weights[number].item())
    assert loss == pytest.approx(sum(own) / 3, rel=1e-5)


def found(base: Any, **network: Any) -> dict[str, list[Target]]:
    parts: dict[str, list[Target]] = {}
    given = Network.model_validate(network)
    for target in targets(base, given, rank=8, alpha=4, unet=True, text_encoder=True):
        parts.setdefault(target.part, []).append(target)
    return parts


def test_the_text_encoders_have_rates_of_their_own(workshop: Any, tmp_path: Path) -> None:
    base = load(workshop.folder(tmp_path / "xl", "sdxl"))
    parts = found(base, block_lr=("TE1 = 0.5", "MID = 2"))
    assert {target.lr_factor for target in parts["text_encoder"]} == {0.5}
    assert {target.lr_factor for target in parts["text_encoder_2"]} == {1.0}
    assert set(found(base, block_lr=("TE2 = 0",))) == {"text_encoder", "unet"}


def test_a_text_encoder_that_is_not_there_is_refused(tiny_base: Path) -> None:
    with pytest.raises(RecipeError, match="block_lr names TE2, where this base has nothing to train; it has TE1"):
        found(load(tiny_base), block_lr=("TE2 = 0.5",))


def test_blocks_have_ranks_of_their_own_and_the_same_alpha_over_rank(tiny_base: Path) -> None:
    plain, changed = (found(load(tiny_base), block_rank=ranks)["unet"] for ranks in ((), ("OUT = 16", "MID = 2")))
    assert {target.rank for target in plain} == {8}
    by_name = {target.path.split("_")[0]: target.rank for target in changed}
    assert by_name["up"] == 16
    assert by_name["down"] == 8
    assert {target.alpha / target.rank for target in changed} == {0.5}
    _, layers, _ = prepared(tiny_base, Training(network=Network(block_rank=("OUT = 16",))), "epsilon")
    assert {layer.down.shape[0] for layer in layers if "_up_blocks_" in layer.name} == {16}
    with pytest.raises(RecipeError, match="block_rank names IN99"):
        found(load(tiny_base), block_rank=("IN99 = 4",))
    with pytest.raises(ValidationError, match="write a block and a rank from 1 to 999"):
        Network(block_rank=("MID = 0",))
