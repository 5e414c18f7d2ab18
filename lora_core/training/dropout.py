"""Leaving parts of the LoRA out while it trains: values, ranks, whole modules.

What is left out is drawn for each sample and module from (seed, epoch, position, module), so it depends neither on the
batch nor on when a pass is computed a second time (gradient checkpointing).
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from lora_core.device import counter_generator, counter_seed
from lora_core.lora.inject import ADAPTER, LoraLayer
from lora_core.recipe import Network

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
        if not self._of_peft:
            yield
            return
        with torch.random.fork_rng(devices=[]):  # peft draws from torch's own generator, once for a whole batch
            torch.default_generator.manual_seed(counter_seed(_DROPOUT, *samples[0]))
            yield

    def _hook(self, number: int) -> Any:
        def drop(module: nn.Module, inputs: tuple[torch.Tensor, ...], hidden: torch.Tensor) -> torch.Tensor:
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
