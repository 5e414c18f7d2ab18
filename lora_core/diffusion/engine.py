"""What runs the U-Net again and again in the fastest way that is right for it: as it is, recorded, compiled.

`compile = "auto"` decides for every shape when a few of its calls have been timed: compiling has a price, and whether
the rest is long enough to earn it back depends on how fast this machine is without.
"""

import json
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from lora_core.device import keep_compiled_in
from lora_core.diffusion.recorder import WARM_UP, Recorder, Tensors
from lora_core.recipe import Speed
from lora_core.store.files import write_atomically

Call = Callable[[Any, Tensors], torch.Tensor]
"""A function of the U-Net, as it is or compiled, and of tensors."""

PAYS = 4.0
"""A shape is compiled if what is left of it takes this many times as long as compiling: then saving a quarter is
enough. A rule, not a measurement; `benchmarks/gpu.py` measures what compiling saves."""
COLD_SECONDS, WARM_SECONDS = 60.0, 20.0
"""What compiling one shape is taken to cost until it was measured here: the first time, and with kernels kept."""
TIMED = range(WARM_UP + 2, WARM_UP + 12)
"""The calls that are timed: behind warming up and recording."""
_COSTS_FILE = "seconds.json"
_log = logging.getLogger(__name__)


@dataclass
class _Shape:
    """What is known of calls with inputs of one shape."""

    calls: int = 0
    seconds: float = 0.0
    settled: bool = False
    compiled: bool = False
    proven: bool = False


class Engine:
    """Runs one function of the U-Net, for inputs of any shapes."""

    def __init__(
        self, unet: UNet2DConditionModel, speed: Speed, *, cache: Path | None, what: str, hindrance: str = ""
    ) -> None:
        """Choose what can be chosen before the first call.

        Args:
            unet: on its device.
            speed: the recipe's.
            cache: folder for compiled kernels; None: nothing is kept.
            what: is run, for messages and as a part of the name under which compiling's seconds are kept.
            hindrance: why calls cannot be recorded; empty: they can.
        """
        self._unet, self._cache, self._what = unet, cache, what
        self._device = torch.device(unet.device)
        self._compile = "off" if speed.deterministic else speed.compile
        cuda = self._device.type == "cuda"
        if self._compile == "auto" and not cuda:
            self._compile = "off"
        if not hindrance and (speed.deterministic or speed.cuda_graphs == "off"):
            hindrance = "deterministic = true" if speed.deterministic else "cuda_graphs = 'off'"
        self.recorder = Recorder() if cuda and not hindrance else None
        if cuda:
            graphs = f"no CUDA graphs ({hindrance})" if hindrance else "CUDA graphs"
            _log.info("%s: %s, compile = '%s'", what, graphs, self._compile)
        self._shapes: dict[Hashable, _Shape] = {}
        self._compiled_unet: Any = None

    def __call__(self, call: Call, inputs: Tensors, expected: int) -> torch.Tensor:
        """The call's output.

        Args:
            call: always the same one.
            inputs: on the device.
            expected: how many calls with inputs of these shapes there will be, this one and those so far included.
        """
        key = tuple((tuple(each.shape), each.dtype) for each in inputs)
        shape = self._shapes.setdefault(key, _Shape())
        shape.calls += 1
        if not shape.settled:
            self._settle(shape, key, expected)
        if shape.compiled and not shape.proven:
            return self._first_compiled(shape, key, call, inputs)
        if shape.settled or shape.calls not in TIMED:
            return self._run(shape, key, call, inputs)
        begun = self._now()
        output = self._run(shape, key, call, inputs)
        shape.seconds += self._now() - begun
        return output

    def forget(self) -> None:
        """The U-Net is another one from now on: what was recorded of it does not hold."""
        if self.recorder is not None:
            self.recorder.forget()

    def _run(self, shape: _Shape, key: Hashable, call: Call, inputs: Tensors) -> torch.Tensor:
        unet = self._compiled() if shape.compiled else self._unet
        if self.recorder is None:
            return call(unet, inputs)
        return self.recorder((key, shape.compiled), lambda given: call(unet, given), inputs)

    def _first_compiled(self, shape: _Shape, key: Hashable, call: Call, inputs: Tensors) -> torch.Tensor:
        """Compile; where that fails (no C compiler, say), nothing is compiled from now on."""
        begun = self._now()
        try:
            output = self._run(shape, key, call, inputs)
        except (torch.OutOfMemoryError, FloatingPointError):
            raise
        except Exception as error:  # dynamo, inductor, triton and compilers raise types of their own
            first = (str(error) or type(error).__name__).splitlines()[0]
            _log.warning("%s: not compiled, for it failed: %s", self._what, first)
            self._compile, shape.compiled = "off", False
            return self._run(shape, key, call, inputs)
        shape.proven = True
        self._learn(key, self._now() - begun)
        return output

    def _settle(self, shape: _Shape, key: Hashable, expected: int) -> None:
        """Whether calls of this shape are to be compiled, as soon as that can be said."""
        if self._compile != "auto":
            shape.compiled, shape.settled = self._compile == "on", True
        elif shape.calls == TIMED.stop:
            seconds, left, cost = shape.seconds / len(TIMED), expected - shape.calls + 1, self._cost(key)
            shape.compiled, shape.settled = pays(left, seconds, cost), True
            told = "%s at %s: %s: what is left, %d at %.1f ms, takes %.0f s, compiling about %.0f s"
            word = "compiled" if shape.compiled else "not compiled"
            _log.info(told, self._what, _shown(key), word, left, seconds * 1e3, left * seconds, cost)

    def _compiled(self) -> Any:
        if self._compiled_unet is None:
            import torch._dynamo

            if self._cache is not None:
                keep_compiled_in(self._cache / "kernels")
            # every size is compiled for itself; by default torch gives up at the eighth
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
            self._compiled_unet = torch.compile(self._unet, dynamic=False)
        return self._compiled_unet

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _name(self, key: Hashable) -> str:
        machine = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        return f"{machine}, torch {torch.__version__}, {self._what}, {_shown(key)}"

    def _cost(self, key: Hashable) -> float:
        known = self._costs().get(self._name(key), [])
        return COLD_SECONDS if not known else (WARM_SECONDS if len(known) == 1 else known[-1])

    def _learn(self, key: Hashable, seconds: float) -> None:
        """Keep what compiling a shape took: the first time, and last."""
        if self._cache is None:
            return
        costs = self._costs()
        costs[self._name(key)] = [*costs.get(self._name(key), [])[:1], round(seconds, 2)]
        write_atomically(self._cache / _COSTS_FILE, json.dumps(costs, indent=1).encode())

    def _costs(self) -> dict[str, list[float]]:
        """By name; a file that cannot be read counts as none, for it only saves time."""
        try:
            found = json.loads((self._cache / _COSTS_FILE).read_bytes()) if self._cache else {}
            return {str(name): [float(each) for each in seconds] for name, seconds in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def pays(left: int, seconds: float, cost_seconds: float) -> bool:
    """Whether to compile: `left` calls of so many seconds each are long beside what compiling costs."""
    return left * seconds >= PAYS * cost_seconds


def _shown(key: Any) -> str:
    """The first input's shape, as 1×4×64×64."""
    return "×".join(str(side) for side in key[0][0])
