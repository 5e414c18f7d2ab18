"""One training step: pictures' latents in, LoRA matrices a little better."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch

from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import SizeIds, predict
from lora_core.diffusion.loss import min_snr_weight, weighted_mse
from lora_core.diffusion.prompts import shuffled
from lora_core.diffusion.schedule import TRAIN_STEPS, add_noise, alphas_cumprod, snr, target, zero_terminal
from lora_core.lora.inject import LoraLayer
from lora_core.recipe import Training
from lora_core.training.optim import set_rates, warmup_factor
from lora_core.training.samples import Picture, Sample, draws
from lora_core.training.texts import TextReader


@dataclass(frozen=True)
class Batch:
    """One step's input, on the CPU.

    Attributes:
        latents: (B, 4, h, w) float32.
        noise: (B, 4, h, w) float32.
        timesteps: (B,) int64 in [0, 1000).
        captions: B texts.
        weights: (B,) float32, weights of the samples' losses before min-SNR.
        sizes: (B, 6) int64, each sample's `SizeIds`.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    captions: tuple[str, ...]
    weights: torch.Tensor
    sizes: torch.Tensor


def draw_batch(
    samples: Sequence[Sample],
    pictures: Sequence[Picture],
    latents: Sequence[torch.Tensor],
    options: Training,
    epoch: int,
) -> Batch:
    """Draw noise, timestep and caption of every sample from (seed, epoch, position).

    The caption as in sd-scripts: first whether it is dropped whole, then the order of its tags.

    Args:
        samples: of one batch, all of one size.
        pictures: of the whole training.
        latents: (4, h, w), one a picture.
        options: seed and caption options are read.
        epoch: counted from 0.
    """
    noise, timesteps, captions = [], [], []
    for sample in samples:
        generator = draws(options.seed, epoch, sample.position)
        timesteps.append(torch.randint(TRAIN_STEPS, (), generator=generator))
        noise.append(torch.randn(latents[sample.picture].shape, generator=generator))
        captions.append(_caption(pictures[sample.picture].tags, options, generator))
    weights = [options.prior_loss_weight if pictures[each.picture].regularization else 1.0 for each in samples]
    return Batch(
        latents=torch.stack([latents[sample.picture] for sample in samples]),
        noise=torch.stack(noise),
        timesteps=torch.stack(timesteps),
        captions=tuple(captions),
        weights=torch.tensor(weights),
        sizes=torch.tensor([size_ids(pictures[sample.picture]) for sample in samples]),
    )


def size_ids(picture: Picture) -> SizeIds:
    """A picture's true sizes: as it came to the trainer, what the crop took off once it was resized, as it is trained.

    sd-scripts tells the border of a picture that is fitted into the bucket, though it fills and crops it; a picture of
    the bucket's shape has 0 and 0 either way.
    """
    (left, top), (width, height) = picture.placement.crop, picture.placement.bucket
    return SizeIds(picture.entry.height, picture.entry.width, top, left, height, width)


def _caption(tags: Sequence[str], options: Training, generator: torch.Generator) -> str:
    if options.caption_dropout and torch.rand((), generator=generator).item() < options.caption_dropout:
        return ""
    if options.shuffle_caption:
        tags = shuffled(tags, options.keep_tokens, generator)
    return ", ".join(tags)


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
    ) -> None:
        self._components, self._optimizer, self._options = components, optimizer, options
        self._device, self._dtype = components.unet.device, dtype
        self._matrices = [matrix for layer in layers for matrix in (layer.down, layer.up)]
        alphas = alphas_cumprod()
        self._alphas = zero_terminal(alphas) if components.zero_terminal_snr else alphas
        self._read = TextReader(
            components,
            clip_skip=clip_skip,
            trained=any(layer.part != "unet" for layer in layers),
            remember=not options.shuffle_caption,
        )
        half = dtype == torch.float16 and self._device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self._device.type, enabled=half)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The weighted loss of a batch, a scalar with a gradient."""
        prediction = self._components.prediction_type
        alphas = self._alphas[batch.timesteps]
        weights = batch.weights
        if self._options.min_snr_gamma:
            weights = weights * min_snr_weight(snr(alphas), self._options.min_snr_gamma, prediction)
        noisy = add_noise(batch.latents, batch.noise, alphas).to(self._device, self._dtype)
        wanted = target(batch.latents, batch.noise, alphas, prediction).to(self._device)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            condition = self._read(batch.captions).to(self._dtype)
            timesteps = batch.timesteps.to(self._device)
            predicted = predict(self._components.unet, noisy, timesteps, condition, batch.sizes)
        return weighted_mse(predicted, wanted, weights.to(self._device))

    def step(self, batch: Batch, number: int) -> float:
        """One step of the optimizer.

        Args:
            batch: this step's.
            number: of the step, counted from 0.

        Returns:
            The loss.

        Raises:
            FloatingPointError: the loss or a gradient is not finite; nothing was changed. With an fp16 scaler gradients
                may overflow: it skips such a step by itself.
        """
        self._optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self._optimizer)
        gradients = [matrix.grad for matrix in self._matrices if matrix.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        value, size = torch.stack([loss.detach(), norm]).tolist()  # the step's only wait for the device
        if not isfinite(value) or not (isfinite(size) or self.scaler.is_enabled()):
            raise FloatingPointError(f"loss {value}, gradient norm {size}")
        if self._options.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_(self._matrices, self._options.max_grad_norm, norm)
        set_rates(self._optimizer, warmup_factor(number, self._options.warmup_steps))
        self.scaler.step(self._optimizer)
        self.scaler.update()
        return float(value)
