"""Is a merged model what it should be? Numerically, on fixed noise."""

from dataclasses import dataclass

import torch

from lora_core.device import counter_generator, pick_device
from lora_core.diffusion.components import Components, load_components
from lora_core.diffusion.condition import SizeIds, predict, read_texts, token_ids
from lora_core.judging.gates import GateResult
from lora_core.lora.attach import attach
from lora_core.lora.file import read_lora
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling.epochs import epoch_files
from lora_core.store import Store

LARGEST_MERGE_ERROR = 0.25
"""Of the LoRA's effect. Rounding to fp16 or bf16 costs a few hundredths, another LoRA or weight costs 1 and more."""

_PROMPTS = ("1girl, solo, upper body, smile", "1boy, solo, cowboy shot, outdoors")
_TIMESTEPS = (100, 500, 900)
_LATENT_SIDE = 16
_SMALLEST_EFFECT = 0.01


@dataclass(frozen=True)
class MergeError:
    """How far a merged model is from the base with the LoRA attached, relative to what the LoRA does."""

    error: float
    effect: float

    @property
    def share(self) -> float:
        """The error as a share of the LoRA's effect, the effect taken as at least 1 % of the prediction."""
        return self.error / max(self.effect, _SMALLEST_EFFECT)


def merge_gate(
    store: Store,
    base: CheckpointRef,
    lora: LoraRef,
    merged: CheckpointRef,
    *,
    weight: float,
    clip_skip: int,
    device: str,
) -> GateResult:
    """Whether the merged model predicts, on fixed noise, what the base with the LoRA attached predicts.

    Raises:
        CheckpointError: a model cannot be loaded.
        LoraError: the LoRA cannot be read or does not fit the base.
    """
    where = pick_device(device)
    components = load_components(store.tree(base.sha256), device=where, dtype=torch.float32)
    plain = predictions(components, clip_skip)
    last = epoch_files(store, lora)[-1]
    attach(components, read_lora(store.path(last.sha256), last.file), weight)
    wanted = predictions(components, clip_skip)
    del components
    got = predictions(load_components(store.tree(merged.sha256), device=where, dtype=torch.float32), clip_skip)
    share = merge_error(plain, wanted, got).share
    return GateResult(
        name="merge",
        passed=share <= LARGEST_MERGE_ERROR,
        figure=share,
        bound=LARGEST_MERGE_ERROR,
        at_least=False,
        meaning="difference from base + LoRA, as a share of the LoRA's effect:",
        advice="the merged model is not the base with this LoRA at this strength; merge again (`--force merge`)",
    )


def merge_error(plain: torch.Tensor, wanted: torch.Tensor, got: torch.Tensor) -> MergeError:
    """Root mean squares, each divided by that of the wanted prediction.

    Args:
        plain: The base's predictions, any shape.
        wanted: Those of the base with the LoRA attached.
        got: Those of the merged model.
    """
    size = _rms(wanted) or 1.0  # a model that predicts nothing at all
    return MergeError(error=_rms(got - wanted) / size, effect=_rms(wanted - plain) / size)


@torch.no_grad()
def predictions(components: Components, clip_skip: int) -> torch.Tensor:
    """What the U-Net predicts for fixed noise, prompts and timesteps.

    Returns:
        (prompts × timesteps, 4, 16, 16) float32 on the CPU.
    """
    unet, side = components.unet, 8 * _LATENT_SIDE
    ids = [token_ids(tokenizer, _PROMPTS)[0].to(unet.device) for tokenizer in components.tokenizers]
    condition = read_texts(components, ids, clip_skip).to(unet.dtype)
    noise = torch.randn((len(_PROMPTS), 4, _LATENT_SIDE, _LATENT_SIDE), generator=counter_generator(0))
    sizes = torch.tensor([SizeIds(side, side, 0, 0, side, side)] * len(_PROMPTS))
    latents = noise.to(condition.states)
    results = [predict(unet, latents, torch.tensor(step), condition, sizes) for step in _TIMESTEPS]
    return torch.cat(results).float().cpu()


def _rms(values: torch.Tensor) -> float:
    return float(values.double().square().mean().sqrt())
