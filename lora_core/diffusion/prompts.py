"""From tags to what the U-Net reads: caption text, token ids, hidden states of the text encoder."""

from collections.abc import Sequence

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

KAOMOJI = (
    "0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^",
    "o_o", "u_u", "x_x", "|_|", "||_||",
)  # fmt: skip
"""Tags whose underscores are a mouth, not a space (the list of the WD14 web UI extension)."""


def caption_text(tags: Sequence[str]) -> str:
    """Canonical tags as a text encoder was taught them: spaces for underscores, brackets unescaped, joined by ", "."""
    return ", ".join(tag if tag in KAOMOJI else tag.replace("_", " ") for tag in tags)


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
    whole = tokenizer(list(texts), padding="max_length", max_length=length, truncation=False)["input_ids"]
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
    """
    if clip_skip == 1:
        last: torch.Tensor = text_encoder(ids).last_hidden_state
        return last
    layers = text_encoder(ids, output_hidden_states=True).hidden_states
    norm = getattr(text_encoder, "text_model", text_encoder).final_layer_norm
    skipped: torch.Tensor = norm(layers[-clip_skip])
    return skipped
