"""What the U-Net is told, against diffusers' SDXL pipeline and against numbers by hand."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline

from lora_core.diffusion.components import Components, load_components
from lora_core.diffusion.condition import Condition, SizeIds, predict, read_texts, token_ids
from lora_core.errors import RecipeError
from lora_core.hub import find_model_files

TEXTS = ("a girl, smile", "night")


@pytest.fixture(scope="module")
def xl(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(workshop.single_file(tmp_path_factory.mktemp("xl") / "xl.safetensors", "sdxl"))


@pytest.fixture(scope="module")
def components(workshop: Any, xl: Path) -> Components:
    base: Components = workshop.load(xl)
    return base


def read(components: Components, clip_skip: int = 1) -> Condition:
    ids = [token_ids(tokenizer, TEXTS)[0] for tokenizer in components.tokenizers]
    with torch.no_grad():
        return read_texts(components, ids, clip_skip)


def test_sdxls_texts_are_read_as_diffusers_reads_them(components: Components) -> None:
    pipeline = StableDiffusionXLPipeline(
        vae=components.vae,
        text_encoder=components.text_encoders[0],
        text_encoder_2=components.text_encoders[1],
        tokenizer=components.tokenizers[0],
        tokenizer_2=components.tokenizers[1],
        unet=components.unet,
        scheduler=DDIMScheduler(),
    )
    states, _, pooled, _ = pipeline.encode_prompt(list(TEXTS), do_classifier_free_guidance=False)
    found = read(components)
    assert found.states.shape == (2, 77, 128)
    torch.testing.assert_close(found.states, states)
    torch.testing.assert_close(found.pooled, pooled)


def test_the_two_tokenizers_of_a_single_file_pad_as_clip_and_as_open_clip(components: Components) -> None:
    ids = [token_ids(tokenizer, ["night"])[0][0, -1].item() for tokenizer in components.tokenizers]
    assert ids == [49407, 0]


def test_clip_skip_two_is_what_sdxl_does_anyway_and_no_other_layer_can_be_chosen(components: Components) -> None:
    one, two = read(components, 1), read(components, 2)
    assert torch.equal(one.states, two.states)
    with pytest.raises(RecipeError, match=r"base\.clip_skip = 3.*leave it at 1 or 2"):
        read(components, 3)


def sinusoid(value: int) -> list[float]:
    """256 numbers of a position: cosines, then sines, of value / 10000^(i / 128)."""
    angles = [value / 10000 ** (index / 128) for index in range(128)]
    return [*(math.cos(angle) for angle in angles), *(math.sin(angle) for angle in angles)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sizes_reach_the_unet_in_their_order_and_unrounded(xl: Path, dtype: torch.dtype) -> None:
    components = load_components(find_model_files(str(xl), ""), device=torch.device("cpu"), dtype=dtype)
    sizes = SizeIds(
        original_height=1001, original_width=769, crop_top=3, crop_left=5, target_height=513, target_width=385
    )
    seen: list[torch.Tensor] = []
    components.unet.add_embedding.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    condition = Condition(torch.zeros(1, 77, 128, dtype=dtype), torch.arange(64.0)[None].to(dtype))
    with torch.no_grad():
        predict(
            components.unet, torch.zeros(1, 4, 8, 8, dtype=dtype), torch.tensor(5), condition, torch.tensor([sizes])
        )
    wanted = torch.tensor([number for value in (1001, 769, 3, 5, 513, 385) for number in sinusoid(value)])
    assert torch.equal(seen[0][0, :64], torch.arange(64.0).to(dtype))
    atol = 1e-4 if dtype == torch.float32 else 2**-8
    torch.testing.assert_close(seen[0][0, 64:].float(), wanted, atol=atol, rtol=0)


def test_conditions_are_joined_text_by_text(components: Components) -> None:
    found = read(components)
    parts = [Condition(found.states[row : row + 1], found.pooled[row : row + 1]) for row in (0, 1)]  # type: ignore[index]
    both = Condition.joined(parts)
    assert torch.equal(both.states, found.states)
    assert both.pooled is not None
    assert both.pooled.shape == (2, 64)
    assert Condition.joined([Condition(torch.zeros(1, 77, 8))] * 2).pooled is None
