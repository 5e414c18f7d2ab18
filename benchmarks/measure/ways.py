"""The ways that are compared: our training loop, and the loop of diffusers' own LoRA script."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import DDPMScheduler
from peft import LoraConfig, inject_adapter_in_model
from torch.utils.flop_counter import FlopCounterMode

from lora_core.device import memory_format
from lora_core.diffusion.components import Components
from lora_core.hub.detect import Architecture
from lora_core.lora.base import targets
from lora_core.lora.folded import FOLDED
from lora_core.lora.inject import inject
from lora_core.recipe import Network, Speed, Training
from lora_core.training.batch import Batch
from lora_core.training.loop import Stepper
from lora_core.training.optim import build_optimizer
from lora_core.training.overlap import MetricsQueue, prefetched

CAPTION = "momo, 1girl, solo, upper body, smile, grass, outdoors, realistic, nose, lips"
RANK, ALPHA = 32, 16
Run = Callable[[int, int], None]
"""Runs steps from a number on, so many of them, and waits for the last."""


class Work(NamedTuple):
    """What every way does: pictures of a size, so many a step; U-Net and text encoders trained with rank 32."""

    architecture: Architecture
    side_px: int
    batch: int

    @property
    def options(self) -> Training:
        """As a recipe says it."""
        return Training(resolution=self.side_px, batch=self.batch, rank=RANK, alpha=ALPHA)


class Trainer(NamedTuple):
    """The trainer's step, and the batches that it is given."""

    stepper: Stepper
    batches: Callable[[int, int], Iterator[Batch]]


def trainer(
    model: Components, work: Work, dtype: torch.dtype, speed: Speed, cache: Path | None = None, *, folded: bool = True
) -> Trainer:
    """The trainer's own step on a model; batches are drawn from counters on the CPU, so the same on every device."""
    device, options = model.unet.device, work.options
    model.unet.to(memory_format=memory_format(device))
    with contextlib.nullcontext() if folded else _unfolded():
        layers = inject(model, rank=RANK, alpha=ALPHA, unet=True, text_encoder=True, seed=1)
    stepper = Stepper(
        model, layers, build_optimizer(layers, options), options, clip_skip=1, dtype=dtype, total_steps=10**6,
        speed=speed, cache=cache,
    )  # fmt: skip
    shape = (work.batch, 4, work.side_px // 8, work.side_px // 8)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)

    def batches(first: int, count: int) -> Iterator[Batch]:
        for number in range(first, first + count):
            generator = torch.Generator().manual_seed(number)
            yield Batch(
                latents=latents, noise=torch.randn(shape, generator=generator),
                timesteps=torch.randint(1000, (work.batch,), generator=generator), captions=(CAPTION,) * work.batch,
                weights=torch.ones(work.batch), sizes=torch.zeros(work.batch, 6, dtype=torch.int64),
                counters=tuple((1, 0, number * work.batch + place) for place in range(work.batch)),
                prior=torch.zeros(work.batch, dtype=torch.bool),
            )  # fmt: skip

    return Trainer(stepper, batches)


def ours(
    model: Components, work: Work, dtype: torch.dtype, speed: Speed, cache: Path | None = None, *, folded: bool = True
) -> Run:
    """The trainer's own loop with everything that belongs to it: counters drawn, batches fed, figures read back."""
    stepper, batches = trainer(model, work, dtype, speed, cache, folded=folded)

    def run(first: int, count: int) -> None:
        queue = MetricsQueue(lags=not stepper.checks_before_step)
        for number, batch in enumerate(prefetched(batches(first, count), stepper.device), first):
            for step in queue.add(stepper.launch(batch, number), ()):
                step.launched.outcome(*step.figures)
        queue.flush()

    return run


@contextlib.contextmanager
def _unfolded() -> Iterator[None]:
    """Inject peft's own layers."""
    kept = dict(FOLDED)
    FOLDED.clear()
    try:
        yield
    finally:
        FOLDED.update(kept)


def sharing(base: Components) -> Components:
    """Modules of their own around the same frozen weights: several models in the memory of one."""
    models = (base.unet, base.vae, *base.text_encoders)
    held = [each for model in models for each in (*model.parameters(), *model.buffers())]
    return copy.deepcopy(base, {id(each): each for each in held})


def plain(model: Components, work: Work, dtype: torch.dtype) -> Run:
    """diffusers' own script's loop once its data is cached: peft, autocast, AdamW, the loss read at every step."""
    device, options = model.unet.device, work.options
    found = targets(model, Network(), rank=RANK, alpha=ALPHA, unet=True, text_encoder=True)
    texts = dict(zip(("text_encoder", "text_encoder_2"), model.text_encoders, strict=False))
    trained: list[torch.nn.Parameter] = []
    for part, module in {"unet": model.unet, **texts}.items():
        names = [target.path for target in found if target.part == part]
        inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names), module)
        trained += [each for each in module.parameters() if each.requires_grad]
    for each in trained:
        each.data = each.data.float()
    optimizer = torch.optim.AdamW(trained, lr=options.unet_lr, weight_decay=options.weight_decay)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    ids = [_ids(model, number).to(device).expand(work.batch, -1) for number in range(len(model.text_encoders))]
    latents = torch.randn(work.batch, 4, work.side_px // 8, work.side_px // 8, device=device)
    sizes = torch.tensor([[work.side_px, work.side_px, 0, 0] + [work.side_px] * 2] * work.batch, device=device)

    def predicted(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        if len(ids) == 1:
            return model.unet(noisy, timesteps, model.text_encoders[0](ids[0])[0]).sample
        read = [text(each, output_hidden_states=True) for text, each in zip(model.text_encoders, ids, strict=True)]
        states = torch.cat([each.hidden_states[-2] for each in read], dim=-1)
        more = {"text_embeds": read[1].text_embeds, "time_ids": sizes}
        return model.unet(noisy, timesteps, states, added_cond_kwargs=more).sample

    def run(first: int, count: int) -> None:
        for number in range(first, first + count):
            torch.manual_seed(number)
            noise = torch.randn_like(latents)
            timesteps = torch.randint(1000, (work.batch,), device=device)
            noisy = scheduler.add_noise(latents, noise, timesteps)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                said = predicted(noisy.to(dtype), timesteps)
            loss = torch.nn.functional.mse_loss(said.float(), noise.float())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, options.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            loss.item()

    return run


def counted_flops(run: Run) -> float:
    """Of one step of a plain run, counted by torch from the shapes of its products."""
    with FlopCounterMode(display=False) as counter:
        run(0, 1)
    return float(counter.get_total_flops())


def matrix_peak(device: torch.device, dtype: torch.dtype, side: int, seconds: float) -> float:
    """FLOP/s of a large matrix product: the most that this machine gives, measured, not a data sheet's."""
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until or not best:
        wait(device)
        begun = time.perf_counter()
        for _ in range(10):
            left @ right
        wait(device)
        best = max(best, 10 * 2 * side**3 / (time.perf_counter() - begun))
    return best


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _ids(model: Components, number: int) -> torch.Tensor:
    tokenizer = model.tokenizers[number]
    ids: torch.Tensor = tokenizer(
        CAPTION, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    return ids
