"""The text encoder: learns its tags first, by telling which of them a caption holds."""

import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from demo.train.loop import DEVICE, Budget, fit, load_average
from demo.train.tokens import MAX_TOKENS, write_tokenizer
from demo.world.character import Character
from demo.world.scene import Scene
from demo.world.tags import VOCABULARY, Look, picture_tags, prompt_text

LOG = logging.getLogger(__name__)

WIDTH: Final = 128
_BATCH: Final = 64
_STEPS: Final = 5000
_ROWS: Final = 8000
# Which word belongs to which noun is learnt from a few tags at a time, and costs little there.
_SHORT_UNTIL: Final = 0.5
_SEED: Final = 202
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_INDEX: Final = {tag: k for k, tag in enumerate(VOCABULARY)}


class TextParts(nn.Module):
    """Text encoder with the head that reads tags off its last state; only the encoder is exported."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        torch.manual_seed(_SEED)
        config = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=WIDTH * 4,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=MAX_TOKENS,
            hidden_act="quick_gelu",
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attn_implementation="eager",
        )
        self.encoder = CLIPTextModel(config)
        self.head = nn.Linear(WIDTH, len(VOCABULARY))

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Returns states (B, T, width) and tag logits (B, tags) for token ids (B, T)."""
        out = self.encoder(input_ids=ids)
        return out.last_hidden_state, self.head(out.pooler_output)


def new_text(work: Path) -> tuple[CLIPTokenizer, TextParts]:
    """Returns the tokenizer, written into the work folder, and a fresh encoder."""
    tokenizer = write_tokenizer(work / "tokenizer")
    return tokenizer, TextParts(tokenizer)


def trained_text(work: Path) -> tuple[CLIPTokenizer, TextParts]:
    """Returns the tokenizer and the encoder as pretraining left it."""
    tokenizer, parts = new_text(work)
    load_average(work / "text.safetensors", {"text": parts})
    return tokenizer, parts


def train(work: Path, minutes: float | None) -> None:
    """Pretrains the encoder on captions of pictures that nobody needs to draw."""
    tokenizer, parts = new_text(work)
    lengths = word_lengths(tokenizer)
    imagined = [_imagined(random.Random(_SEED * 1_000_000 + row)) for row in range(_ROWS)]

    def loss_of(step: int, done: float) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(_SEED * 1_000_000_000 + step)
        most = 4 if done < _SHORT_UNTIL else 14
        kept = [caption_tags(rng.choice(imagined), rng)[: rng.randint(1, most)] for _ in range(_BATCH)]
        words = [caption_words(tags, rng) for tags in kept]
        states, logits = parts(token_ids(tokenizer, [prompt_text(row) for row in words], padding="longest"))
        truth = tag_vector(kept)
        naming = word_loss(parts.head(states), words, lengths)
        wrong = float(((logits > 0) != (truth > 0.5)).float().mean())
        return tag_loss(logits, truth) * 20 + naming, {"wrong": wrong, "naming": naming.item()}

    fit("text", work, {"text": parts}, loss_of, Budget(steps=_STEPS, minutes=minutes or 10, lr=1e-3, ema=0.99))


def caption_tags(tags: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    """Returns the tags in another order, some dropped; about one caption in ten loses all."""
    if rng.random() < 0.1:
        return ()
    keep = rng.choice((1.0, 0.95, 0.85, 0.6))
    kept = [tag for tag in tags if rng.random() < keep]
    rng.shuffle(kept)
    return tuple(kept)


def caption_words(tags: Sequence[str], rng: random.Random) -> list[str]:
    """Returns the caption's tags, now and then with a word that means nothing, as triggers do before training."""
    words = list(tags)
    if words and rng.random() < 0.2:
        nonsense = "".join(rng.choices(_LETTERS, k=rng.randint(3, 9)))
        words.insert(0 if rng.random() < 0.7 else rng.randint(0, len(words)), nonsense)
    return words


def token_ids(tokenizer: CLIPTokenizer, texts: Sequence[str], padding: str = "max_length") -> Tensor:
    """Returns padded ids (B, 77), or (B, longest) for `padding="longest"`."""
    ids: Tensor = tokenizer(
        list(texts), padding=padding, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    ).input_ids
    return ids.to(DEVICE)


def tag_vector(captions: Sequence[Sequence[str]]) -> Tensor:
    """Returns (B, tags), 1 where the caption holds the tag."""
    out = torch.zeros(len(captions), len(VOCABULARY))
    for row, tags in enumerate(captions):
        out[row, [_INDEX[tag] for tag in tags]] = 1
    return out.to(DEVICE)


def tag_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Returns the mean binary cross entropy of tag logits (B, tags)."""
    return functional.binary_cross_entropy_with_logits(logits.float(), truth)


def word_lengths(tokenizer: CLIPTokenizer) -> dict[str, int]:
    """Returns how many tokens every tag of the world takes."""
    return {tag: len(tokenizer.tokenize(prompt_text([tag]))) for tag in VOCABULARY}


def word_loss(logits: Tensor, captions: Sequence[Sequence[str]], lengths: Mapping[str, int]) -> Tensor:
    """Returns the cross entropy of naming each tag at its last token, for logits (B, T, tags).

    It makes "hair" in "red hair" another state than in "blue hair". Reading whole captions does not:
    an encoder can tell that red and blue occur without telling what is red.
    """
    rows, places, truth = [], [], []
    for row, words in enumerate(captions):
        place = 0
        for word in words:
            if word not in lengths:
                # A nonsense word's length is unknown, and so is the place of all that follow it.
                break
            place += lengths[word]
            if place < MAX_TOKENS - 1:
                rows.append(row)
                places.append(place)
                truth.append(_INDEX[word])
            place += 1
    if not rows:
        return logits.sum() * 0
    return functional.cross_entropy(logits[rows, places].float(), torch.tensor(truth, device=DEVICE))


def _imagined(rng: random.Random) -> tuple[str, ...]:
    look: Look = "solid" if rng.random() < 0.3 else "flat"
    return picture_tags(Character.random(rng), Scene.random(rng), look)
