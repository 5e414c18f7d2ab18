"""Captions of up to 225 tokens, against a loop over chunks that is written out here."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_step import SIZES, drawn_batch, load, prepared

from lora_core.diffusion.components import Components
from lora_core.lora.inject import LoraLayer, inject
from lora_core.recipe import Training
from lora_core.training.batch import Batch
from lora_core.training.loop import Stepper
from lora_core.training.optim import build_optimizer

CHUNKS = (("girl",) * 75, ("hat",) * 75, ("night",) * 75)
SHORT, LONG = ("smile",), tuple(" ".join(words) for words in CHUNKS)


@pytest.fixture(scope="module")
def folders(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {name: workshop.folder(root / name, name) for name in ("sd1", "sdxl")}


def chunk_loop(base: Components, chunks: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(1, n · 77, width) states and SDXL's pooled state: every chunk on its own, the states one behind the other."""
    states, pooled = [], None
    for chunk in chunks:
        said = [
            encoder(
                tokenizer(chunk, padding="max_length", max_length=77, return_tensors="pt").input_ids,
                output_hidden_states=True,
            )
            for tokenizer, encoder in zip(base.tokenizers, base.text_encoders, strict=True)
        ]
        if len(said) == 1:
            states.append(said[0].last_hidden_state)
        else:
            states.append(torch.cat([each.hidden_states[-2] for each in said], dim=-1))
            pooled = said[1].text_embeds if pooled is None else pooled
    return torch.cat(states, dim=1), pooled


def loop_loss(base: Components, batch: Batch, captions: list[tuple[str, ...]]) -> torch.Tensor:
    """The mean of the samples' losses, each sample through the U-Net alone."""
    alphas = torch.cumprod(1 - torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2, 0)
    losses = []
    for number, chunks in enumerate(captions):
        alpha = alphas[batch.timesteps[number]].float()
        noisy = alpha.sqrt() * batch.latents[number] + (1 - alpha).sqrt() * batch.noise[number]
        states, pooled = chunk_loop(base, chunks)
        added = (
            None if pooled is None else {"text_embeds": pooled, "time_ids": torch.tensor(SIZES[number : number + 1])}
        )
        said = base.unet(noisy[None], batch.timesteps[number], states, added_cond_kwargs=added).sample[0]
        losses.append(((said - batch.noise[number]) ** 2).mean() * batch.weights[number])
    return torch.stack(losses).mean()


def ready(folder: Path, *, text_encoder: bool) -> tuple[Components, Stepper, tuple[LoraLayer, ...]]:
    base, options = load(folder), Training()
    layers = inject(base, rank=4, alpha=2, unet=True, text_encoder=text_encoder, seed=1)
    generator = torch.Generator().manual_seed(5)
    for layer in layers:
        layer.up.data.normal_(0, 0.1, generator=generator)
    optimizer = build_optimizer(layers, options)
    return base, Stepper(base, layers, optimizer, options, clip_skip=1, dtype=torch.float32), layers


@pytest.mark.parametrize("text_encoder", [False, True])
@pytest.mark.parametrize("architecture", ["sd1", "sdxl"])
def test_captions_of_225_tokens_train_to_the_loss_of_a_loop_over_three_chunks(
    folders: dict[str, Path], architecture: str, text_encoder: bool
) -> None:
    base, stepper, layers = ready(folders[architecture], text_encoder=text_encoder)
    for captions in ([LONG, LONG, LONG], [LONG, SHORT, LONG[:2]]):
        batch = replace(drawn_batch(), captions=tuple(" ".join(chunks) for chunks in captions))
        loss = stepper.loss(batch)
        wanted = loop_loss(base, batch, captions)
        assert loss.item() == pytest.approx(wanted.item(), abs=1e-5)
        loss.backward()
        gradients = [layer.up.grad.clone() for layer in layers if layer.up.grad is not None]
        for layer in layers:
            layer.up.grad = None
        wanted.backward()
        theirs = [layer.up.grad for layer in layers if layer.up.grad is not None]
        for mine, other in zip(gradients, theirs, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-3)
        for layer in layers:
            layer.up.grad = None


def test_what_is_beyond_the_longest_caption_is_not_trained(folders: dict[str, Path]) -> None:
    whole, cut = (
        prepared(folders["sd1"], Training(max_token_length=most), "epsilon")[0].loss(
            replace(drawn_batch(), captions=(" ".join(LONG),) * 3)
        )
        for most in (225, 75)
    )
    first = prepared(folders["sd1"], Training(), "epsilon")[0].loss(replace(drawn_batch(), captions=(LONG[0],) * 3))
    assert cut.item() == first.item()
    assert whole.item() != pytest.approx(cut.item(), abs=1e-4)
