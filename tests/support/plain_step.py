"""A training step written out in plain torch: no peft, no code of the trainer."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.func import functional_call

from lora_core.diffusion.components import Components, load_components
from lora_core.lora.inject import LoraLayer, inject
from lora_core.recipe import Process, Training
from lora_core.training.batch import Batch
from lora_core.training.loop import Stepper
from lora_core.training.optim import build_optimizer

SCALE = 2 / 4  # alpha / rank
SIZES = [[1024, 768, 0, 5, 64, 48], [600, 600, 3, 0, 64, 64], [80, 100, 0, 0, 80, 96]]
Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]


def load(folder: Path, prediction: str = "auto") -> Components:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    process = Process.model_validate({"prediction": prediction})
    return load_components(files, device=torch.device("cpu"), dtype=torch.float32, process=process)


def sdxl_name(path: str) -> str:
    """The original layout's name of a module inside an SDXL U-Net of two layers a level: blocks are counted through."""
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.attentions\.(\d)\.(.*)", path)
    if found is None:
        return path.replace("mid_block.attentions.0", "middle_block.1")
    block = 3 * int(found[2]) + int(found[3])
    way = f"input_blocks.{block + 1}" if found[1] == "down" else f"output_blocks.{block}"
    return f"{way}.1.{found[4]}"


def with_lora(model: torch.nn.Module, prefix: str, pairs: Pairs, *, xl: bool = False) -> dict[str, torch.Tensor]:
    """The model's weights with W + scale · up · down in the place of W."""
    weights = dict(model.named_parameters())
    for path, _ in model.named_modules():
        name = prefix + (sdxl_name(path) if xl else path.removeprefix("text_model.")).replace(".", "_")
        if name in pairs:
            down, up = pairs[name]
            old = weights[f"{path}.weight"]
            weights[f"{path}.weight"] = old + SCALE * (up.flatten(1) @ down.flatten(1)).view(old.shape)
    return weights


def plain_condition(base: Components, pairs: Pairs, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 77, width) hidden states and SDXL's (B, P) pooled state, which is empty for the others."""
    ids = [
        tokenizer(list(captions), padding="max_length", max_length=77, return_tensors="pt").input_ids
        for tokenizer in base.tokenizers
    ]
    if len(ids) == 1:
        text = base.text_encoders[0]
        said = functional_call(text, with_lora(text, "lora_te_text_model_", pairs), (ids[0],))
        return said.last_hidden_state, torch.empty(0)
    said, other = (
        functional_call(text, with_lora(text, f"{name}_text_model_", pairs), (its,), {"output_hidden_states": True})
        for name, text, its in zip(("lora_te1", "lora_te2"), base.text_encoders, ids, strict=True)
    )
    ends = [row.tolist().index(49407) for row in ids[1]]
    at_end = torch.stack([states[end] for states, end in zip(other.last_hidden_state, ends, strict=True)])
    projection = base.text_encoders[1].text_projection.weight
    return torch.cat((said.hidden_states[1], other.hidden_states[1]), dim=2), at_end @ projection.T  # 1 of 0, 1, 2


def plain_output(
    base: Components, pairs: Pairs, batch: Batch, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the U-Net says to the latents mixed with that noise, and the cumulative alphas."""
    betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2
    alpha = torch.cumprod(1 - betas, 0)[batch.timesteps].float()
    states, pooled = plain_condition(base, pairs, batch.captions)
    signal, spread = alpha.sqrt()[:, None, None, None], (1 - alpha).sqrt()[:, None, None, None]
    inputs = (signal * batch.latents + spread * noise, batch.timesteps, states)
    xl = bool(pooled.numel())
    more = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.tensor(SIZES).float()}} if xl else {}
    return functional_call(base.unet, with_lora(base.unet, "lora_unet_", pairs, xl=xl), inputs, more).sample, alpha


def plain_target(batch: Batch, alpha: torch.Tensor, prediction: str) -> torch.Tensor:
    signal, spread = alpha.sqrt()[:, None, None, None], (1 - alpha).sqrt()[:, None, None, None]
    return batch.noise if prediction == "epsilon" else signal * batch.noise - spread * batch.latents


def plain_loss(base: Components, pairs: Pairs, batch: Batch, prediction: str, gamma: float) -> torch.Tensor:
    output, alpha = plain_output(base, pairs, batch, batch.noise)
    weights = batch.weights
    if gamma:
        ratio = alpha / (1 - alpha)
        below = ratio if prediction == "epsilon" else ratio + 1
        weights = weights * torch.minimum(ratio, torch.full_like(ratio, gamma)) / below
    losses = ((output - plain_target(batch, alpha, prediction)) ** 2).flatten(1).mean(1)
    return (losses * weights).sum() / len(losses)


def cloned_pairs(layers: Sequence[LoraLayer]) -> Pairs:
    """The layers' matrices, with gradients of their own."""
    return {
        layer.name: (layer.down.detach().clone().requires_grad_(), layer.up.detach().clone().requires_grad_())
        for layer in layers
    }


def drawn_batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    return Batch(
        latents=torch.randn(3, 4, 8, 8, generator=generator),
        noise=torch.randn(3, 4, 8, 8, generator=generator),
        timesteps=torch.tensor([5, 400, 990]),
        captions=("hc_hero, 1girl", "hcstyle 1girl", "cat ears"),
        weights=torch.tensor([1.0, 0.5, 1.0]),
        sizes=torch.tensor(SIZES),
        counters=((1, 0, 0), (1, 0, 1), (1, 0, 2)),
        prior=torch.tensor([False, True, False]),
    )


def prepared(
    folder: Path, options: Training, prediction: str
) -> tuple[Stepper, tuple[LoraLayer, ...], torch.optim.Optimizer]:
    components = load(folder, prediction)
    layers = inject(components, rank=4, alpha=2, unet=True, text_encoder=True, seed=1, network=options.network)
    generator = torch.Generator().manual_seed(5)
    for layer in layers:
        with torch.no_grad():
            for key in ("lora_up.weight", "hada_w2_b", "lokr_w2", "lokr_w2_b"):
                if key in layer.matrices:
                    zero = layer.matrices[key]
                    zero.copy_(0.1 * torch.randn(zero.shape, generator=generator))
    optimizer = build_optimizer(layers, options)
    stepper = Stepper(components, layers, optimizer, options, clip_skip=1, dtype=torch.float32)
    return stepper, layers, optimizer
