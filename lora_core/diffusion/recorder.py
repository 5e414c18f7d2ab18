"""CUDA graphs: a function of tensors is recorded once for each kind of input, and replayed.

At small batches a step is thousands of kernels of a few microseconds, and launching them from Python takes longer than
running them. A graph launches all of them at once. It reads and writes the same memory every time: inputs are copied
into it, and the output is copied out of it.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Tensors = Sequence[torch.Tensor]
Function = Callable[[Tensors], torch.Tensor]
Replay = Callable[[], None]

WARM_UP = 3
"""Calls that run as they are before one is recorded: libraries choose kernels and optimizers make their state then."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Tape:
    inputs: Tensors
    output: torch.Tensor
    replay: Replay


class Graphs(Protocol):
    """What records and replays."""

    def aside(self, function: Function, inputs: Tensors) -> torch.Tensor:
        """Call the function as a recording will have it called."""

    def record(self, function: Function, inputs: Tensors) -> tuple[torch.Tensor, Replay]:
        """What the function does to these inputs, not done; its output is filled by every replay."""


class Recorder:
    """Runs functions of tensors that launch the same kernels whenever their inputs have the same shapes.

    A function must not read a tensor's values, draw from a generator, or depend on anything that changes between calls
    but its inputs and what tensors it closes over hold.
    """

    def __init__(self, graphs: Graphs | None = None) -> None:
        """Args: graphs: what records; None: CUDA's."""
        self._graphs = graphs or _Cuda()
        self._seen: dict[Hashable, int] = {}
        self._tapes: dict[Hashable, _Tape] = {}
        self._broken = False

    def __call__(self, key: Hashable, function: Function, inputs: Tensors) -> torch.Tensor:
        """The function's output.

        Args:
            key: of the function and the inputs' shapes.
            function: is called on the first calls of a key, and replayed on all others.
            inputs: on the device.
        """
        if self._broken:
            return function(inputs)
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] <= WARM_UP:
            return self._graphs.aside(function, inputs)
        if key not in self._tapes and not self._recorded(key, function, inputs):
            return function(inputs)
        tape = self._tapes[key]
        for mine, given in zip(tape.inputs, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        tape.replay()
        return tape.output.clone()

    def forget(self) -> None:
        """What the functions close over was replaced: record anew."""
        self._seen.clear()
        self._tapes.clear()

    def _recorded(self, key: Hashable, function: Function, inputs: Tensors) -> bool:
        """Record; what cannot be recorded runs as it is from now on."""
        mine = tuple(each.clone() for each in inputs)
        try:
            output, replay = self._graphs.record(function, mine)
        except RuntimeError as error:  # of the driver, of memory, or of a kernel that cannot be recorded
            first = (str(error) or type(error).__name__).splitlines()[0]
            _log.warning("CUDA graphs are off: recording a step failed (%s)", first)
            self._broken = True
            self._tapes.clear()
            return False
        self._tapes[key] = _Tape(mine, output, replay)
        return True


class _Cuda:
    """Records with torch's CUDA graphs, as its notes on whole-network capture say.

    All graphs share one pool of memory: they never run side by side, and nothing of one is read behind the next.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._stream: Any = None

    def aside(self, function: Function, inputs: Tensors) -> torch.Tensor:
        """A call on a stream that is not the default one, which recording needs to have happened."""
        self._stream = stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        here = torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            output = function(inputs)
        here.wait_stream(stream)
        output.record_stream(here)
        for each in inputs:
            each.record_stream(stream)
        return output

    def record(self, function: Function, inputs: Tensors) -> tuple[torch.Tensor, Replay]:
        """What the function launches, not run; its output is filled by every replay."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        torch.cuda.synchronize()
        try:
            # other threads (a tagger, say) may use the GPU meanwhile: only what this one does is recorded
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = function(inputs)
        finally:
            torch.cuda.set_stream(here)  # when recording fails, torch leaves its own stream in place
        return output, graph.replay
