"""Prior preservation by a teacher: on regularization pictures the LoRA is to say what the base model says without it.

Plain regularization teaches what the pictures show. The base's own prediction as the target teaches to leave alone what
it makes of them (distillation, as in "Learning without Forgetting", Li and Hoiem 2016, arXiv:1606.09282).
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import predict
from lora_core.lora.inject import LoraLayer
from lora_core.training.batch import Batch
from lora_core.training.texts import TextReader


class Teacher:
    """The base model as it is without the LoRA."""

    def __init__(self, components: Components, layers: Sequence[LoraLayer], clip_skip: int) -> None:
        self._components, self._layers = components, layers
        self._read = TextReader(components, clip_skip=clip_skip, trained=False, remember=True)

    @torch.no_grad()
    def taught(self, wanted: torch.Tensor, batch: Batch, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
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
