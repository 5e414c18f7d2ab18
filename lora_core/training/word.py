"""A word's vectors as what is trained: in the place of a LoRA, with the same optimizer, state and epochs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from lora_core.diffusion.components import Components
from lora_core.diffusion.words import VECTORS, own_embeddings, speak, spelled
from lora_core.lora.base import LoraPart
from lora_core.lora.inject import LoraLayer
from lora_core.lora.tensor_files import SafetensorsWriter

_NAME = "vectors"
_PARTS: tuple[LoraPart, ...] = ("text_encoder", "text_encoder_2")


def word_layers(components: Components, word: str) -> tuple[LoraLayer, ...]:
    """The vectors of a word, one group for each text encoder, at first what the base reads there: nothing changes."""
    return tuple(_layers(components, word))


def _layers(components: Components, word: str) -> Iterator[LoraLayer]:
    encoders = components.text_encoders
    for number, (encoder, tokenizer) in enumerate(zip(encoders, components.tokenizers, strict=True)):
        tokens = spelled(tokenizer, word)
        vectors = nn.Parameter(own_embeddings(encoder, tokens))
        speak(encoder, tokens, vectors)
        key = VECTORS[len(encoders)][number]
        yield LoraLayer(key, _PARTS[number], {_NAME: vectors}, len(tokens), len(tokens), 1.0, encoder)


def write_word(
    path: Path, values: Mapping[str, Mapping[str, torch.Tensor]], dtype: torch.dtype, metadata: Mapping[str, str]
) -> None:
    """Write an embedding as web UIs read it.

    Raises:
        LoraError: a number is not finite in that dtype.
        StoreError: the disk is full or not writable.
    """
    with SafetensorsWriter(path) as writer:
        for key, tensors in sorted(values.items()):
            writer.add(key, tensors[_NAME].detach().to("cpu", dtype))
        writer.write(metadata, hashes=False)
