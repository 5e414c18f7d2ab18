"""From texts to the U-Net's condition: token ids, hidden states and, for SDXL, sizes and crop of the picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lora_core.diffusion.chunks import CHUNK_IDS
from lora_core.diffusion.components import Components
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


class SizeIds(NamedTuple):
    """SDXL's size and crop conditioning of one picture (Podell et al. 2023, arXiv:2307.01952, section 2.2), in pixels.

    In the order in which the U-Net reads them.
    """

    original_height: int
    original_width: int
    crop_top: int
    crop_left: int
    target_height: int
    target_width: int


@dataclass(frozen=True)
class Condition:
    """Texts as the U-Net reads them.

    Attributes:
        states: (B, n · 77, width), hidden states of one text encoder, or of both side by side, chunk after chunk.
        pooled: (B, P), SDXL's pooled and projected state of its second text encoder; None for SD1 and SD2.
        mask: (B, n · 77) bool, which states are read, where texts have different numbers of chunks; None: all.
    """

    states: torch.Tensor
    pooled: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    def to(self, dtype: torch.dtype) -> "Condition":
        """The same in another number format."""
        return Condition(self.states.to(dtype), None if self.pooled is None else self.pooled.to(dtype), self.mask)

    def zeros(self) -> "Condition":
        """Nothing, in its shape."""
        return Condition(torch.zeros_like(self.states), None if self.pooled is None else torch.zeros_like(self.pooled))

    @staticmethod
    def joined(parts: Sequence["Condition"]) -> "Condition":
        """Several as one batch; shorter ones are filled up with states that the mask leaves out."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        states = [part.states for part in parts]
        longest = max(each.shape[1] for each in states)
        mask = None
        if any(each.shape[1] < longest for each in states):
            mask = torch.cat(
                [torch.arange(longest, device=each.device).expand(len(each), -1) < each.shape[1] for each in states]
            )
            states = [torch.nn.functional.pad(each, (0, 0, 0, longest - each.shape[1])) for each in states]
        return Condition(torch.cat(states), torch.cat(pooled) if pooled else None, mask)


def read_texts(
    components: Components,
    ids: Sequence[torch.Tensor],
    clip_skip: int,
    weights: Sequence[torch.Tensor] = (),
    mask: torch.Tensor | None = None,
) -> Condition:
    """Run the text encoders, chunk by chunk; SDXL's pooled state is the first chunk's, as in web UIs.

    SDXL is always read as it was trained, and as sd-scripts and web UIs do: both encoders' last layer but one without
    the final norm, side by side, and the second one's projected state at the end mark, behind its last layer.

    Args:
        components: the base model.
        ids: for each text encoder (B, n · 77) token ids on its device.
        clip_skip: SD1 and SD2: the layer counted from the end, 1 is the last. SDXL: 1 or 2, without effect.
        weights: for each text encoder (B, n · 77), the emphasis of each token; empty: none.
        mask: (B, n · 77) bool, which states the U-Net is to read; None: all.

    Raises:
        RecipeError: there is no such layer, or none can be chosen.
    """
    ends = range(CHUNK_IDS, max(each.shape[1] for each in ids) + 1, CHUNK_IDS)
    parts = []
    for end in ends:
        its_ids, its_weights = ([each[:, end - CHUNK_IDS : end] for each in kind] for kind in (ids, weights))
        parts.append(_read_chunk(components, its_ids, clip_skip, its_weights))
    if len(parts) == 1:
        return Condition(parts[0].states, parts[0].pooled, mask)
    return Condition(torch.cat([part.states for part in parts], dim=1), parts[0].pooled, mask)


def _read_chunk(
    components: Components, ids: Sequence[torch.Tensor], clip_skip: int, weights: Sequence[torch.Tensor]
) -> Condition:
    if components.architecture != "sdxl":
        states = hidden_states(components.text_encoders[0], ids[0], clip_skip)
        return Condition(emphasized(states, weights[0]) if weights else states)
    if clip_skip > 2:
        raise RecipeError(
            f"base.clip_skip = {clip_skip}: SDXL is always read at the last layer but one of its text encoders; "
            "leave it at 1 or 2"
        )
    first, second = (
        encoder(its_ids, output_hidden_states=True)
        for encoder, its_ids in zip(components.text_encoders, ids, strict=True)
    )
    both = [first.hidden_states[-2], second.hidden_states[-2]]
    if weights:
        both = [emphasized(states, its_weights) for states, its_weights in zip(both, weights, strict=True)]
    return Condition(torch.cat(both, dim=-1), second.text_embeds)


def emphasized(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Every token's state times its weight, then all times what brings the mean back to what it was: A1111's rule.

    Args:
        states: (1, 77, width), of one chunk.
        weights: (1, 77).
    """
    if bool((weights == 1).all()):
        return states
    weighted = states * weights[:, :, None].to(states)
    return weighted * (states.mean() / weighted.mean())


def predict(
    unet: UNet2DConditionModel,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    condition: Condition,
    sizes: torch.Tensor,
) -> torch.Tensor:
    """What the U-Net predicts.

    Args:
        unet: of any architecture.
        latents: (B, 4, h, w), noisy.
        timesteps: (B,), or one for all.
        condition: of B texts.
        sizes: (B, 6) `SizeIds`; only SDXL's U-Net reads them. They are never rounded to half precision.

    Returns:
        (B, 4, h, w).
    """
    added = None
    if condition.pooled is not None:
        added = {"text_embeds": condition.pooled, "time_ids": sizes.to(latents.device, torch.float32)}
    found: torch.Tensor = unet(
        latents,
        timesteps,
        condition.states,
        added_cond_kwargs=added,
        encoder_attention_mask=condition.mask,
        return_dict=False,
    )[0]
    return found
