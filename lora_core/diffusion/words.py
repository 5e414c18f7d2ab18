"""Textual inversion (Gal et al. 2022, arXiv:2208.01618): trained vectors in the place of a word's own embeddings.

The word keeps the tokens that CLIP's vocabulary spells it with, and has a vector for each. Where they stand one behind
another the text encoder reads the vectors; every other text is read as before, and no weight of the model changes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import load_file
from torch.nn.functional import pad
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lora_core.errors import CheckpointError
from lora_core.hub.find import OWN_WORDS

VECTORS: Mapping[int, tuple[str, ...]] = {1: ("emb_params",), 2: ("clip_l", "clip_g")}
"""Number of text encoders → the tensors of an embedding's file, as web UIs read it."""

TextEncoder: TypeAlias = CLIPTextModel | CLIPTextModelWithProjection


def spelled(tokenizer: CLIPTokenizer, word: str) -> tuple[int, ...]:
    """The tokens of a word."""
    return tuple(tokenizer(word, add_special_tokens=False)["input_ids"])


def own_embeddings(encoder: TextEncoder, word: Sequence[int]) -> torch.Tensor:
    """What the encoder reads where it knows nothing else of the word: (tokens, width), float32, a copy."""
    table: torch.Tensor = encoder.get_input_embeddings().weight
    return table[list(word)].detach().float().clone()


def speak(encoder: TextEncoder, word: Sequence[int], vectors: torch.Tensor) -> None:
    """Let a text encoder read `vectors` (tokens, width) wherever the word's tokens stand one behind another."""

    def replaced(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        places = places_of(inputs[0], word)
        own = vectors.to(output)[(places - 1).clamp(min=0)]
        return torch.where((places > 0)[..., None], own, output)

    encoder.get_input_embeddings().register_forward_hook(replaced)


def places_of(ids: torch.Tensor, word: Sequence[int]) -> torch.Tensor:
    """For each token its number in the word, counted from 1; 0 where the word does not stand.

    Args:
        ids: (B, T) int64.
        word: token ids.

    Returns:
        (B, T) int64.
    """
    begins = torch.ones_like(ids, dtype=torch.bool)
    for number, token in enumerate(word):
        begins &= pad(ids[:, number:], (0, number), value=-1) == token
    places = torch.zeros_like(ids)
    for number in range(len(word)):
        places = torch.maximum(places, pad(begins, (number, 0))[:, : ids.shape[1]] * (number + 1))
    return places


def speak_own_words(
    encoders: Sequence[TextEncoder], tokenizers: Sequence[CLIPTokenizer], files: Mapping[str, Path]
) -> None:
    """Teach text encoders the words that stand among a base's files.

    Raises:
        CheckpointError: a file is no embedding for these encoders.
    """
    for name, path in files.items():
        if not name.startswith(OWN_WORDS):
            continue
        word, tensors = Path(name).stem, load_file(path)
        for key, encoder, tokenizer in zip(VECTORS[len(encoders)], encoders, tokenizers, strict=True):
            tokens = spelled(tokenizer, word)
            shape = [len(tokens), encoder.get_input_embeddings().weight.shape[1]]
            if key not in tensors or list(tensors[key].shape) != shape:
                found = {each: list(tensor.shape) for each, tensor in tensors.items()}
                raise CheckpointError(f"{name}: no embedding of {word!r} for this base: {found}, not {key} {shape}")
            speak(encoder, tokens, tensors[key].to(encoder.device))
