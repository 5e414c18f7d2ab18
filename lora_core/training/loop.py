"""One training step: pictures' latents in, LoRA matrices a little better."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import torch

from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import predict
from lora_core.diffusion.loss import debiased_weight, min_snr_weight, weighted_mse
from lora_core.diffusion.schedule import add_noise, alphas_cumprod, snr, target, zero_terminal
from lora_core.lora.inject import LoraLayer
from lora_core.lora.norm import limit_norms
from lora_core.recipe import Training
from lora_core.training.average import MovingAverage
from lora_core.training.batch import Batch
from lora_core.training.dropout import Dropout
from lora_core.training.group import Group
from lora_core.training.optim import rate_factor, set_rates
from lora_core.training.teacher import Teacher
from lora_core.training.texts import TextReader


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
    ) -> None:
        self._components, self._optimizer, self._options = components, optimizer, options
        self._device, self._dtype = components.unet.device, dtype
        self._layers, self._total_steps = layers, total_steps
        self.matrices = [matrix for layer in layers for matrix in layer.matrices.values()]
        """What is trained."""
        self.average = MovingAverage(self.matrices, options.ema_decay) if options.ema_decay else None
        """The moving average, if the recipe wants one."""
        alphas = alphas_cumprod()
        self._alphas = zero_terminal(alphas) if components.zero_terminal_snr else alphas
        self._dropout = Dropout(layers, options.network)
        self._read = TextReader(
            components,
            clip_skip=clip_skip,
            trained=any(layer.part != "unet" for layer in layers),
            remember=not options.shuffle_caption,
        )
        self._teacher = Teacher(components, layers, clip_skip) if options.prior_preservation == "teacher" else None
        self.group: Group | None = None
        """The processes that share every step; None: this one is all."""
        half = dtype == torch.float16 and self._device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self._device.type, enabled=half)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The weighted loss of a batch, a scalar with a gradient."""
        prediction = self._components.prediction_type
        alphas = self._alphas[batch.timesteps]
        weights = batch.weights
        if self._options.min_snr_gamma:
            weights = weights * min_snr_weight(snr(alphas), self._options.min_snr_gamma, prediction)
        if self._options.debiased:
            weights = weights * debiased_weight(snr(alphas), prediction)
        mixed = batch.noise if batch.perturbation is None else batch.noise + batch.perturbation
        noisy = add_noise(batch.latents, mixed, alphas).to(self._device, self._dtype)
        wanted = target(batch.latents, batch.noise, alphas, prediction).to(self._device)
        timesteps = batch.timesteps.to(self._device)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            if self._teacher is not None and batch.prior.any():
                wanted = self._teacher.taught(wanted, batch, noisy, timesteps)
            condition = self._read(batch.captions).to(self._dtype)
            predicted = predict(self._components.unet, noisy, timesteps, condition, batch.sizes)
        masks = None if batch.masks is None else batch.masks.to(self._device)
        return weighted_mse(predicted, wanted, weights.to(self._device), masks)

    def step(self, batch: Batch, number: int) -> Outcome:
        """One step of the optimizer, over a batch that goes through the models in parts of `options.batch`.

        In a group each process is given the whole batch and takes its share.

        Args:
            batch: this step's.
            number: of the step, counted from 0.

        Raises:
            FloatingPointError: the loss or a gradient is not finite; nothing was changed. With an fp16 scaler gradients
                may overflow: it skips such a step by itself.
        """
        self._optimizer.zero_grad(set_to_none=True)
        share = batch if self.group is None else self.group.share(batch)
        losses = [self._backward(part, len(part) / len(batch)) for part in share.split(self._options.batch)]
        loss = torch.stack(losses).sum() if losses else torch.zeros((), device=self._device)
        if self.group is not None:
            loss = self.group.add_up(self.matrices, loss)
        self.scaler.unscale_(self._optimizer)
        gradients = [matrix.grad for matrix in self.matrices if matrix.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        with torch.no_grad():
            weights = torch.nn.utils.get_total_norm(self.matrices)
        # the step's only wait for the device
        value, size, weight_size = torch.stack([loss, norm, weights]).tolist()
        if not isfinite(value) or not (isfinite(size) or self.scaler.is_enabled()):
            raise FloatingPointError(f"loss {value}, gradient norm {size}")
        if self._options.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(self.matrices, self._options.max_grad_norm, norm)
        factor = rate_factor(number, self._total_steps, self._options)
        set_rates(self._optimizer, factor)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        if self._options.network.max_norm:
            limit_norms(self._layers, self._options.network.max_norm)
        if self.average is not None:
            self.average.update(number)
        rates = self._options.unet_lr * factor, self._options.text_encoder_lr * factor
        return Outcome(value, size, weight_size, rates)

    def _backward(self, part: Batch, share: float) -> torch.Tensor:
        """Add the gradients of a part of a step's batch; returns its share of the loss."""
        with self._dropout.drawn_for(part.counters):
            loss = self.loss(part) * share
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()
