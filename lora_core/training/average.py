"""A moving average of what is trained, saved in its place."""

from collections.abc import Sequence

import torch


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
