"""From texts to what the U-Net reads: token ids, hidden states of the text encoder."""

from collections.abc import Sequence

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lora_core.errors import RecipeError


def shuffled(tags: Sequence[str], keep: int, generator: torch.Generator) -> tuple[str, ...]:
    """The tags with those behind the first `keep` in an order drawn from the generator."""
    order = torch.randperm(max(len(tags) - keep, 0), generator=generator).tolist()
    return (*tags[:keep], *(tags[keep + index] for index in order))


def token_ids(tokenizer: CLIPTokenizer, texts: Sequence[str], length: int = 77) -> tuple[torch.Tensor, int]:
    """Token ids, padded and cut to `length`, and how many texts had to be cut.

    Args:
        tokenizer: of the text encoder.
        texts: B captions.
        length: start and end tokens included; 77 for CLIP.

    Returns:
        (B, length) int64, and the number of texts that were longer.
    """
    whole = tokenizer(list(texts), padding="max_length", max_length=length, truncation=False, verbose=False)[
        "input_ids"
    ]
    cut = sum(len(ids) > length for ids in whole)
    rows = [ids if len(ids) <= length else [*ids[: length - 1], tokenizer.eos_token_id] for ids in whole]
    return torch.tensor(rows, dtype=torch.int64), cut


def hidden_states(
    text_encoder: CLIPTextModel | CLIPTextModelWithProjection, ids: torch.Tensor, clip_skip: int
) -> torch.Tensor:
    """What the U-Net of SD1 and SD2 is conditioned on: a layer's output behind the final layer norm.

    Args:
        text_encoder: CLIP's text model.
        ids: (B, T) token ids on the model's device.
        clip_skip: the layer counted from the end; 1 is the last (as in web UIs and sd-scripts).

    Returns:
        (B, T, width).

    Raises:
        RecipeError: the text encoder has fewer layers.
    """
    if clip_skip == 1:
        last: torch.Tensor = text_encoder(ids).last_hidden_state
        return last
    layers = text_encoder(ids, output_hidden_states=True).hidden_states
    if clip_skip >= len(layers):
        raise RecipeError(f"base.clip_skip = {clip_skip}: this text encoder has {len(layers) - 1} layers; lower it")
    norm = getattr(text_encoder, "text_model", text_encoder).final_layer_norm
    skipped: torch.Tensor = norm(layers[-clip_skip])
    return skipped
