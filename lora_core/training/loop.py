"""One training step: pictures' latents in, LoRA matrices a little better."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lora_core.device import capturing, is_synchronous, memory_format
from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import predict
from lora_core.diffusion.engine import Engine
from lora_core.diffusion.schedule import (
    add_noise,
    alphas_cumprod,
    debiased_weight,
    huber_c,
    min_snr_weight,
    pseudo_huber,
    snr,
    target,
    weighted_mean,
    zero_terminal,
)
from lora_core.lora.inject import LoraLayer, limit_norms
from lora_core.recipe import Speed, Training
from lora_core.training.batch import Batch, TextReader
from lora_core.training.group import Group
from lora_core.training.optim import rate_factor, set_rates
from lora_core.training.regularize import Dropout, MovingAverage, Teacher

Shape = tuple[int, int, int]
"""Pictures in a batch, and the height and width of their latents."""

_log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What one step came to.

    Attributes:
        loss: of its pictures.
        gradient_norm: L2, before clipping.
        weight_norm: L2 of all that is trained, before the step.
        rates: learning rates of the U-Net and of the text encoders; 0 where nothing is trained.
    """

    loss: float
    gradient_norm: float
    weight_norm: float
    rates: tuple[float, float]


@dataclass(frozen=True)
class Launched:
    """A step that a GPU may still be working on.

    Attributes:
        number: of the step, counted from 0.
        figures: (3,) on the device: loss, gradient norm, weight norm.
        rates: as in `Outcome`.
        overflows: whether gradients may overflow, for an fp16 scaler skips such a step by itself.
    """

    number: int
    figures: torch.Tensor
    rates: tuple[float, float]
    overflows: bool

    def outcome(self, loss: float, gradient_norm: float, weight_norm: float) -> Outcome:
        """What it came to, of its `figures`.

        Raises:
            FloatingPointError: the loss or a gradient is not finite.
        """
        _refuse_infinite(loss, gradient_norm, overflows=self.overflows)
        return Outcome(loss, gradient_norm, weight_norm, self.rates)


def _refuse_infinite(loss: float, gradient_norm: float, *, overflows: bool) -> None:
    if not isfinite(loss) or not (isfinite(gradient_norm) or overflows):
        raise FloatingPointError(f"loss {loss}, gradient norm {gradient_norm}")


class Stepper:
    """Runs steps on one set of models."""

    def __init__(
        self,
        components: Components,
        layers: Sequence[LoraLayer],
        optimizer: torch.optim.Optimizer,
        options: Training,
        *,
        clip_skip: int,
        dtype: torch.dtype,
        total_steps: int = 0,
        speed: Speed | None = None,
        cache: Path | None = None,
        reader: TextReader | None = None,
    ) -> None:
        """Make ready.

        Args:
            components: the base, with the LoRA in place.
            layers: of the LoRA.
            optimizer: over their matrices.
            options: of the training.
            clip_skip: layer of the text encoder, counted from the end.
            dtype: in which the models compute.
            total_steps: of the whole training.
            speed: how a GPU is kept busy; None: the defaults.
            cache: folder for compiled kernels; None: nothing is kept.
            reader: knows what frozen text encoders said to every caption; None: they are there to be asked.
        """
        self._components, self._optimizer, self._options = components, optimizer, options
        self._unet: Any = components.unet
        self._device, self._dtype = torch.device(components.unet.device), dtype
        self._layers, self._total_steps = layers, total_steps
        self.matrices = [matrix for layer in layers for matrix in layer.matrices.values()]
        """What is trained."""
        self.average = MovingAverage(self.matrices, options.ema_decay) if options.ema_decay else None
        """The moving average, if the recipe wants one."""
        alphas = alphas_cumprod()
        self._alphas = (zero_terminal(alphas) if components.zero_terminal_snr else alphas).to(self._device)
        self._dropout = Dropout(layers, options.network)
        self._read = reader or TextReader(
            components,
            clip_skip=clip_skip,
            trained=any(layer.part != "unet" for layer in layers),
            remember=not (options.shuffle_caption or options.tag_dropout),
            most_tokens=options.max_token_length,
        )
        self._teacher = (
            Teacher(components, layers, self._read if reader else None, clip_skip, options.max_token_length)
            if options.prior_preservation == "teacher"
            else None
        )
        self.group: Group | None = None
        """The processes that share every step; None: this one is all."""
        half = dtype == torch.float16 and self._device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self._device.type, enabled=half)
        self.expected: Mapping[Shape, int] = {}
        """How many steps of each shape there will be."""
        self.checks_before_step = is_synchronous(self._device)
        """Whether a step is refused before it changes anything; if not, its figures have to be looked at later."""
        self.part_size = options.batch
        """Pictures that go through the models at once; smaller than the batch since memory did not hold it."""
        self._speed, self._cache = speed or Speed(), cache

    @property
    def device(self) -> torch.device:
        """Where steps are computed."""
        return self._device

    @cached_property
    def _engine(self) -> Engine:
        """Made at the first step, when it is known who takes part."""
        of = f"{self._components.architecture}, rank {self._options.rank}, {str(self._dtype).removeprefix('torch.')}"
        return Engine(
            self._components.unet,
            self._speed,
            cache=self._cache,
            what=f"training {of}",
            blocker=self._cuda_graph_blocker(),
        )

    def _cuda_graph_blocker(self) -> str:
        """Why a step cannot be recorded: something in it happens on the CPU, or is another thing every time."""
        options = self._options
        blockers = {
            "several processes": self.group is not None,
            f"optimizer = '{options.optimizer}'": options.optimizer != "adamw",
            "precision = 'fp16'": self.scaler.is_enabled(),
            "dropout": self._dropout.draws,
            "prior_preservation = 'teacher'": self._teacher is not None,
            "gradient_checkpointing = true": options.gradient_checkpointing,
        }
        return ", ".join(name for name, there in blockers.items() if there)

    def placed(self, batch: Batch) -> Batch:
        """The batch on the device, with what is known of its captions."""
        with self._autocast():
            texts = self._read.rows(batch.captions)
        return replace(batch.to(self._device), texts=texts)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The weighted loss of a batch, a scalar with a gradient; a batch that is not `placed` is first."""
        batch = batch if batch.texts else self.placed(batch)
        prediction = self._components.prediction_type
        alphas = self._alphas[batch.timesteps]
        weights = batch.weights
        if self._options.min_snr_gamma:
            weights = weights * min_snr_weight(snr(alphas), self._options.min_snr_gamma, prediction)
        if self._options.debiased:
            weights = weights * debiased_weight(snr(alphas), prediction)
        mixed = batch.noise if batch.perturbation is None else batch.noise + batch.perturbation
        noisy = add_noise(batch.latents, mixed, alphas).to(
            self._device, self._dtype, memory_format=memory_format(self._device)
        )
        wanted = target(batch.latents, batch.noise, alphas, prediction)
        with self._autocast():
            if self._teacher is not None and batch.prior.any():
                wanted = self._teacher.teacher_target(wanted, batch, noisy, batch.timesteps)
            condition = self._read.condition(batch.texts).to(self._dtype)
            predicted = predict(self._unet, noisy, batch.timesteps, condition, batch.sizes)
        errors = self._errors(predicted.float(), wanted.float(), batch)
        return weighted_mean(errors, weights, batch.masks)

    def _errors(self, predicted: torch.Tensor, wanted: torch.Tensor, batch: Batch) -> torch.Tensor:
        options = self._options
        if options.loss == "l2":
            return torch.nn.functional.mse_loss(predicted, wanted, reduction="none")
        c = huber_c(self._alphas[batch.timesteps], batch.timesteps, options.huber_c, options.huber_schedule)
        errors = pseudo_huber(predicted - wanted, c)
        return errors if options.loss == "huber" else errors / c.view(-1, 1, 1, 1)

    def step(self, batch: Batch, number: int) -> Outcome:
        """One step, and what it came to; see `launch`."""
        launched = self.launch(batch, number)
        return launched.outcome(*launched.figures.tolist())

    def launch(self, batch: Batch, number: int) -> Launched:
        """One step of the optimizer, over a batch that goes through the models in parts of `options.batch`.

        When memory does not hold such a part, the step is taken again in smaller ones, and so are all others; the
        result is the same. In a group each process is given the whole batch and takes its share.

        Args:
            batch: this step's.
            number: of the step, counted from 0.

        Raises:
            FloatingPointError: on the CPU, if the loss or a gradient is not finite; nothing was changed. A GPU is not
                waited for: there the figures tell it afterwards.
            torch.OutOfMemoryError: memory does not hold a single picture; nothing was changed.
        """
        batch = self.placed(batch)
        factor = rate_factor(number, self._total_steps, self._options)
        rates = self._options.unet_lr * factor, self._options.text_encoder_lr * factor
        set_rates(self._optimizer, factor)

        def advance(unet: Any, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
            self._unet = unet
            return self._advance(batch.filled(tensors))

        shape = (len(batch), *batch.latents.shape[-2:])
        figures = self._engine(advance, batch.tensors, self.expected.get(shape, 0))
        self._unet = self._components.unet
        if self._options.network.max_norm:
            limit_norms(self._layers, self._options.network.max_norm)
        if self.average is not None:
            self.average.update(number)
        return Launched(number, figures, rates, self.scaler.is_enabled())

    def _advance(self, batch: Batch) -> torch.Tensor:
        """Gradients and the optimizer's step; returns `Launched.figures`. On CUDA it waits for nothing."""
        loss = self._gradients(batch)
        if self.group is not None:
            loss = self.group.add_up(self.matrices, loss)
        self.scaler.unscale_(self._optimizer)
        gradients = [matrix.grad for matrix in self.matrices if matrix.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        with torch.no_grad():
            weights = torch.nn.utils.get_total_norm(self.matrices)
        figures = torch.stack([loss, norm, weights])
        if self.checks_before_step:
            value, size, _ = figures.tolist()
            _refuse_infinite(value, size, overflows=self.scaler.is_enabled())
        if self._options.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(self.matrices, self._options.max_grad_norm, norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        return figures

    def _gradients(self, batch: Batch) -> torch.Tensor:
        """Leave the gradients of this process' share of a batch in the matrices; returns its share of the loss."""
        share = batch if self.group is None else self.group.share(batch)
        while True:
            self._optimizer.zero_grad(set_to_none=True)
            try:
                losses = [self._backward(part, len(part) / len(batch)) for part in share.split(self.part_size)]
                return torch.stack(losses).sum() if losses else torch.zeros((), device=self._device)
            except torch.OutOfMemoryError:
                if self.part_size == 1 or capturing(self._device):
                    raise
            # only here, behind the handler, is everything free that the failed pass held
            self.part_size = min(self.part_size, len(share)) // 2 or 1
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            _log.warning("memory does not hold the batch; it goes through the models %d at a time", self.part_size)

    def _backward(self, part: Batch, share: float) -> torch.Tensor:
        """Add the gradients of a part of a step's batch; returns its share of the loss."""
        with self._dropout.drawn_for(part.counters):
            loss = self.loss(part) * share
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()
