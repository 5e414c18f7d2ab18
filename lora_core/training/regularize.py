"""Guards against learning too much: a moving average, dropout, and a teacher for the regularization pictures."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from lora_core.device import counter_generator, counter_seed
from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import predict
from lora_core.lora.inject import ADAPTER, LoraLayer
from lora_core.recipe import Network
from lora_core.training.batch import Batch, TextReader


class MovingAverage:
    """Exponential moving average of parameters (Polyak and Juditsky 1992).

    The decay rises to its value as (1 + step) / (10 + step), as in TensorFlow and diffusers' `EMAModel`: else the first
    values would weigh for thousands of steps.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], decay: float) -> None:
        self._parameters: list[torch.Tensor] = list(parameters)
        self._decay = decay
        self.values = [parameter.detach().clone() for parameter in self._parameters]
        """In the parameters' order."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the parameters in as they are behind a step, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, self._parameters, 1 - decay)


_DROPOUT = 4
Counters = tuple[int, int, int]


class Dropout:
    """sd-scripts' three kinds on the values between a LoRA's down and up; peft's two on LoHa and LoKr."""

    def __init__(self, layers: Sequence[LoraLayer], network: Network) -> None:
        self._network = network
        self._samples: Sequence[Counters] = ()
        self.draws = bool(network.dropout or network.rank_dropout or network.module_dropout)
        """Whether anything is ever left out."""
        self._of_peft = self.draws and network.kind in ("loha", "lokr")
        if self.draws and not self._of_peft:
            for number, layer in enumerate(layers):
                module: Any = layer.module
                module.lora_A[ADAPTER].register_forward_hook(self._hook(number))

    @contextlib.contextmanager
    def drawn_for(self, samples: Sequence[Counters]) -> Iterator[None]:
        """A pass of the model, forward or back, over these samples: (seed, epoch, position) of each."""
        self._samples = samples
        try:
            with self._peft_draws_of(samples):
                yield
        finally:
            self._samples = ()  # outside of training's own passes, as in validation, nothing is left out

    @contextlib.contextmanager
    def _peft_draws_of(self, samples: Sequence[Counters]) -> Iterator[None]:
        if not self._of_peft:
            yield
            return
        with torch.random.fork_rng(devices=[]):  # peft draws from torch's own generator, once for a whole batch
            torch.default_generator.manual_seed(counter_seed(_DROPOUT, *samples[0]))
            yield

    def _hook(self, number: int) -> Any:
        def drop(module: nn.Module, inputs: tuple[torch.Tensor, ...], hidden: torch.Tensor) -> torch.Tensor:
            if not self._samples:
                return hidden
            masks = [self._mask(sample, number, hidden[index]) for index, sample in enumerate(self._samples)]
            return hidden * torch.stack(masks).to(hidden.dtype)

        return drop

    def _mask(self, sample: Counters, number: int, hidden: torch.Tensor) -> torch.Tensor:
        """Of one sample's (tokens, rank), (rank,) or (rank, h, w); what stays is scaled so that the mean stays."""
        network, device = self._network, hidden.device
        generator = counter_generator(_DROPOUT, *sample, number, device=device)

        def kept(shape: tuple[int, ...], share: float) -> torch.Tensor:
            return (torch.rand(shape, generator=generator, device=device) >= share) / (1 - share)

        mask = (torch.rand((), generator=generator, device=device) >= network.module_dropout).float()
        if network.rank_dropout:
            ranks = (hidden.shape[0], 1, 1) if hidden.ndim == 3 else (hidden.shape[-1],)
            mask = mask * kept(ranks, network.rank_dropout)
        if network.dropout:
            mask = mask * kept(tuple(hidden.shape), network.dropout)
        return mask.expand(hidden.shape)


class Teacher:
    """The base model as it is without the LoRA."""

    def __init__(
        self,
        components: Components,
        layers: Sequence[LoraLayer],
        reader: TextReader | None,
        clip_skip: int,
        most_tokens: int,
    ) -> None:
        self._components, self._layers = components, layers
        self._read = reader or TextReader(
            components, clip_skip=clip_skip, trained=False, remember=True, most_tokens=most_tokens
        )

    @torch.no_grad()
    def teacher_target(
        self, wanted: torch.Tensor, batch: Batch, noisy: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """The targets, with the base's prediction in the place of the regularization samples'.

        Args:
            wanted: (B, 4, h, w), on the device.
            batch: on the CPU; at least one of its samples is a regularization picture.
            noisy: (B, 4, h, w), in the U-Net's format.
            timesteps: (B,), on the device.
        """
        places = batch.prior.nonzero().flatten()
        there = places.to(noisy.device)
        with self._without_lora():
            condition = self._read([batch.captions[place] for place in places.tolist()]).to(noisy.dtype)
            said = predict(self._components.unet, noisy[there], timesteps[there], condition, batch.sizes[places])
        return wanted.index_copy(0, there, said.to(wanted.dtype))

    @contextlib.contextmanager
    def _without_lora(self) -> Iterator[None]:
        self._enable(False)
        try:
            yield
        finally:
            self._enable(True)

    def _enable(self, on: bool) -> None:
        for layer in self._layers:
            module: Any = layer.module
            module.enable_adapters(on)
