import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lora_core.device import counter_generator
from lora_core.diffusion.condition import hidden_states, shuffled, token_ids
from lora_core.training.latents import moments, picture_tensor


@pytest.fixture
def tokenizer(tmp_path: Path) -> CLIPTokenizer:
    """One token a letter: a = 0 … z = 25 at the end of a word 26 … 51, start 52, end 53."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(str(tmp_path))


def test_shuffling_leaves_the_first_tags_in_place() -> None:
    tags = tuple("abcdefgh")
    mixed = shuffled(tags, 2, counter_generator(1))
    assert mixed[:2] == ("a", "b")
    assert mixed != tags
    assert sorted(mixed) == sorted(tags)


def test_shuffling_nothing_is_no_error() -> None:
    assert shuffled(("a",), 3, counter_generator(1)) == ("a",)


def test_ids_are_padded_and_long_captions_cut_and_counted(tokenizer: CLIPTokenizer) -> None:
    ids, cut = token_ids(tokenizer, ["a", "a b c d e f"], length=6)
    assert ids.tolist() == [[52, 26, 53, 53, 53, 53], [52, 26, 27, 28, 29, 53]]
    assert cut == 1


def test_clip_skip_counts_layers_from_the_end() -> None:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=20, hidden_size=8, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        bos_token_id=18, eos_token_id=19, pad_token_id=19,
    )  # fmt: skip
    text_encoder = CLIPTextModel(config).eval()
    outputs: list[torch.Tensor] = []
    for layer in text_encoder.encoder.layers:
        layer.register_forward_hook(lambda *call: outputs.append(call[-1]))
    ids = torch.tensor([[18, 3, 4, 19]])
    text_encoder(ids)
    for clip_skip in (1, 2, 3):
        wanted = text_encoder.final_layer_norm(outputs[3 - clip_skip])
        torch.testing.assert_close(hidden_states(text_encoder, ids, clip_skip), wanted)


def test_a_picture_becomes_numbers_between_minus_one_and_one() -> None:
    picture = Image.new("RGB", (2, 1), (0, 255, 51))
    assert picture_tensor(picture)[:, 0, 0].tolist() == pytest.approx([-1.0, 1.0, -0.6])
    assert picture_tensor(picture).shape == (3, 1, 2)


def test_a_latent_is_a_scaled_sample_that_its_counters_decide() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        scaling_factor=0.5,
    ).eval()
    pixels = torch.zeros(3, 8, 8)
    first, again, other = (
        moments(vae, [pixels])[0].sample(counter_generator(seed), vae.config.scaling_factor) for seed in (1, 1, 2)
    )
    assert first.shape == (4, 4, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with torch.no_grad():
        found = vae.encode(pixels[None]).latent_dist
    noise = torch.randn((1, 4, 4, 4), generator=counter_generator(1))
    torch.testing.assert_close(first, 0.5 * (found.mean + found.std * noise)[0])
