"""Texts in chunks of 75 tokens, and what emphasis makes of them, against A1111's rules written out here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from lora_core.captions.emphasis import literal, read_prompt
from lora_core.diffusion.chunks import chunked
from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import Condition, predict, read_texts, token_ids
from lora_core.diffusion.tokenizer import shipped_tokenizer, token_counter
from lora_core.recipe import Sampling
from lora_core.sampling.generate import generate, to_picture
from lora_core.sampling.shot import Shot

CLIP = shipped_tokenizer(pad_zero=False)
START, END, COMMA = 49406, 49407, CLIP.convert_tokens_to_ids(",</w>")
SMILE = CLIP("smile", add_special_tokens=False)["input_ids"][0]
OPTIONS = Sampling(steps=2, width=64, height=64, cfg=12.0, scheduler="euler")


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def base(request: pytest.FixtureRequest, workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Components:
    path = tmp_path_factory.mktemp("base") / f"{request.param}.safetensors"
    loaded: Components = workshop.load(Path(workshop.single_file(path, request.param)))
    return loaded


def chunks_of(text: str, most: int | None = None) -> list[list[int]]:
    return [row.tolist() for row in chunked(CLIP, literal(text), most).ids[0].split(77)]


@pytest.mark.parametrize("pad_zero", [False, True])
@pytest.mark.parametrize("words", [0, 1, 74, 75])
def test_a_text_that_fits_is_read_as_ever(words: int, pad_zero: bool) -> None:
    tokenizer, text = shipped_tokenizer(pad_zero=pad_zero), " ".join(["smile"] * words)
    read = chunked(tokenizer, literal(text), 225)
    assert torch.equal(read.ids, token_ids(tokenizer, [text])[0])
    assert (read.count, read.tokens, read.cut) == (1, words, False)


def test_the_third_chunk_is_the_last_and_the_rest_is_cut() -> None:
    text = " ".join(["smile"] * 230)
    assert chunks_of(text, 225) == [[START, *[SMILE] * 75, END]] * 3
    assert chunked(CLIP, literal(text), 225).cut
    assert chunked(CLIP, literal(text), 75).ids.tolist() == token_ids(CLIP, [text])[0].tolist()
    assert len(chunks_of(text)) == 4


def test_a_tag_that_would_be_cut_goes_to_the_next_chunk_whole() -> None:
    text = ", ".join(["smile"] * 37) + ", " + " ".join(["smile"] * 5)
    assert chunks_of(text) == [
        [START, *[SMILE, COMMA] * 37, END, END],
        [START, *[SMILE] * 5, *[END] * 71],
    ]
    assert token_counter()(text) == 80


def test_a_tag_of_more_than_twenty_tokens_is_cut() -> None:
    text = "smile, " + " ".join(["smile"] * 80)
    assert chunks_of(text)[0] == [START, SMILE, COMMA, *[SMILE] * 73, END]


def test_break_fills_a_chunk_up() -> None:
    read = chunked(CLIP, read_prompt("smile BREAK (smile:1.5)"))
    assert [row.tolist() for row in read.ids[0].split(77)] == [[START, SMILE, *[END] * 75]] * 2
    assert read.weights[0].split(77)[1].tolist() == [1.0, 1.5, *[1.0] * 75]


@torch.no_grad()
def a1111(base: Components, chunks: list[tuple[list[str], list[float]]]) -> Condition:
    """Every encoder's states, chunk by chunk, times the tokens' weights, the mean of a chunk kept."""
    states, pooled = [], None
    for words, factors in chunks:
        both = []
        for number, (tokenizer, encoder) in enumerate(zip(base.tokenizers, base.text_encoders, strict=True)):
            ids = tokenizer(" ".join(words), padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
            said = encoder(ids, output_hidden_states=True)
            z = said.hidden_states[-2] if base.architecture == "sdxl" else said.last_hidden_state
            weights = torch.ones(77)
            weights[1 : 1 + len(words)] = torch.tensor(factors)
            before = z.mean()
            z = z * weights[None, :, None]
            both.append(z * (before / z.mean()))
            if number == 1 and pooled is None:
                pooled = said.text_embeds
        states.append(torch.cat(both, dim=-1))
    return Condition(torch.cat(states, dim=1), pooled)


@torch.no_grad()
def read(base: Components, prompt: str) -> Condition:
    rows = [chunked(tokenizer, read_prompt(prompt)) for tokenizer in base.tokenizers]
    return read_texts(base, [row.ids for row in rows], 1, [row.weights for row in rows])


def test_emphasis_is_a1111s(base: Components) -> None:
    found = read(base, "girl ((hat)) (red:0.7) [sky] BREAK night (city:1.4)")
    factors = [1.0, 1.21, 0.7, 1 / 1.1]
    wanted = a1111(base, [(["girl", "hat", "red", "sky"], factors), (["night", "city"], [1.0, 1.4])])
    torch.testing.assert_close(found.states, wanted.states)
    assert found.states.shape[1] == 154
    if base.architecture == "sdxl":
        torch.testing.assert_close(found.pooled, wanted.pooled)


@torch.no_grad()
def euler(base: Components, negative: Condition, prompt: Condition, seed: int) -> Image.Image:
    """Two steps of Euler's method with guidance, negative prompt and prompt each through the U-Net alone."""
    alphas = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    sigmas = [float(np.sqrt((1 - alpha) / alpha)) for alpha in (alphas[999], alphas[0])]
    side = 64 // 2 ** (len(base.vae.config.block_out_channels) - 1)
    x = torch.randn((1, 4, side, side), generator=torch.Generator().manual_seed(seed)) * sigmas[0]
    sizes = torch.tensor([[64, 64, 0, 0, 64, 64]])
    for timestep, here, there in ((999.0, sigmas[0], sigmas[1]), (0.0, sigmas[1], 0.0)):
        scaled = x / (here**2 + 1) ** 0.5
        said = [predict(base.unet, scaled, torch.tensor(timestep), each, sizes) for each in (negative, prompt)]
        noise = said[0] + OPTIONS.cfg * (said[1] - said[0])
        x = x + noise * (there - here)
    return to_picture(base, x[0])


def test_a_prompt_with_emphasis_draws_what_a1111s_rule_says(base: Components) -> None:
    """A negative prompt of one chunk beside a prompt of two: neither is filled up with what it does not say."""
    assert base.prediction_type == "epsilon"
    (drawn,) = generate(base, [Shot("girl (hat:9) BREAK night", "bad", 1)], OPTIONS, 1)
    negative = a1111(base, [(["bad"], [1.0])])
    prompt = a1111(base, [(["girl", "hat"], [1.0, 9.0]), (["night"], [1.0])])
    wanted, plain = (
        np.asarray(euler(base, negative, each, 1), dtype=int)
        for each in (prompt, a1111(base, [(["girl", "hat"], [1.0, 1.0]), (["night"], [1.0])]))
    )
    assert np.abs(np.asarray(drawn, dtype=int) - wanted).max() <= 1
    assert np.abs(wanted - plain).max() > 1


@pytest.mark.parametrize(
    ("prompt", "hint"),
    [
        ("girl <lora:aiko:0.8>", "leave it out, and name the LoRA with --lora"),
        ("a [cat:dog:0.5]", "write one prompt for all steps"),
        ("a [cat|dog]", "write one prompt for all steps"),
        ("a cat AND a dog", "write two prompts"),
    ],
)
def test_what_is_not_read_is_refused_with_a_hint(prompt: str, hint: str) -> None:
    for field in ({"prompts": (prompt,)}, {"negative": prompt}):
        with pytest.raises(ValidationError, match=hint):
            Sampling.model_validate(field)
