"""Recording and replaying on the CPU: what a CUDA graph does to its inputs and output, without CUDA."""

from collections.abc import Callable, Sequence

import torch

Function = Callable[[Sequence[torch.Tensor]], torch.Tensor]


class FakeGraphs:
    """Records by remembering the function: a replay runs it on the recorded inputs, into the recorded output."""

    def __init__(self, shape_of: Callable[[Sequence[torch.Tensor]], Sequence[int]]) -> None:
        self._shape_of = shape_of
        self.recorded = self.replays = self.aside_calls = 0

    def aside(self, function: Function, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        self.aside_calls += 1
        return function(inputs)

    def record(self, function: Function, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, Callable[[], None]]:
        self.recorded += 1
        output = torch.zeros(tuple(self._shape_of(inputs)))

        def replay() -> None:
            self.replays += 1
            output.copy_(function(inputs))

        return output, replay
