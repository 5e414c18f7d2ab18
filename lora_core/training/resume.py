"""The state of a training in one file, so that a run killed at any moment goes on to the same bytes.

One safetensors file: the LoRA's matrices, what the optimizer remembers of them and their moving average; as JSON in its
header the optimizer's numbers and where the run stands. It is written under another name and renamed, so there is a
whole state or the one before it, never half of one. It lies in a folder named by the key of the step, so a state made
from other inputs is never met.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lora_core.errors import TrainingError
from lora_core.lora.inject import LoraLayer
from lora_core.store.files import replacing

_HEADER = "headcanon_training"
_OPTIMIZER = "headcanon_optimizer"
_OF, _AVERAGE = "|", "#average"


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        epoch: of the next step, counted from 0.
        batch: of the next step within its epoch, counted from 0.
        losses: of every step so far.
        numerics: what last bits depend on (`device.numerics`), the thread count among them.
        scaler: state of the fp16 gradient scaler; empty without one.
        validation: loss on the held-out pictures, before the first step and behind every finished epoch; empty without
            any.
    """

    epoch: int
    batch: int
    losses: tuple[float, ...]
    numerics: Mapping[str, str]
    scaler: Mapping[str, float]
    validation: tuple[float, ...] = ()

    @property
    def step(self) -> int:
        """Steps done so far."""
        return len(self.losses)


def read_position(path: Path) -> Position | None:
    """Where the run stands, or None if it has not begun.

    Raises:
        TrainingError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            fields = json.loads(file.metadata()[_HEADER])
        numbers = {name: tuple(fields[name]) for name in ("losses", "validation")}
        return Position(**{**fields, **numbers})
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error


@dataclass(frozen=True)
class State:
    """Everything that a step changes.

    Attributes:
        layers: the LoRA.
        optimizer: over its matrices.
        average: its moving average, in the matrices' order; empty without one.
    """

    layers: Sequence[LoraLayer]
    optimizer: torch.optim.Optimizer
    average: Sequence[torch.Tensor]

    def save(self, path: Path, position: Position) -> None:
        """Replace the state file by a new one, atomically.

        Raises:
            StoreError: the disk is full or cannot be written.
            TrainingError: the optimizer keeps what is neither a tensor nor a number.
        """
        tensors: dict[str, torch.Tensor] = {}
        numbers: dict[str, dict[str, float | str | None]] = {}
        for name, matrix in self._matrices():
            tensors[name] = matrix
            for kind, value in self.optimizer.state.get(matrix, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{name}{_OF}{kind}"] = value
                elif value is None or isinstance(value, int | float | str):
                    numbers.setdefault(name, {})[kind] = value
                else:
                    raise TrainingError(
                        f"the optimizer keeps {kind!r}, a {type(value).__name__}, which no state file can hold; "
                        "use another optimizer"
                    )
        for (name, _), average in zip(self._matrices(), self.average, strict=False):
            tensors[f"{name}{_AVERAGE}"] = average
        groups = [
            {key: value for key, value in group.items() if type(value) in (int, float)}
            for group in self.optimizer.param_groups
        ]
        header = {
            _HEADER: json.dumps(asdict(position)),
            _OPTIMIZER: json.dumps({"numbers": numbers, "groups": groups}),
        }
        with replacing(path) as temporary:
            copies = {name: each.detach().to("cpu", copy=True).contiguous() for name, each in tensors.items()}
            save_file(copies, temporary, metadata=header)

    def restore(self, path: Path) -> None:
        """Put what a state file holds back in place.

        Raises:
            TrainingError: the file is damaged, or belongs to a LoRA of another shape.
        """
        try:
            with safe_open(path, framework="pt") as file, torch.no_grad():
                optimizer = json.loads(file.metadata()[_OPTIMIZER])
                kinds: dict[str, list[str]] = {}
                for key in file.keys():  # noqa: SIM118  (it is no dict)
                    name, _, kind = key.partition(_OF)
                    kinds.setdefault(name, []).extend([kind] if kind else [])
                for name, matrix in self._matrices():
                    matrix.copy_(file.get_tensor(name))
                    state = dict(optimizer["numbers"].get(name, {}))
                    state |= {kind: file.get_tensor(f"{name}{_OF}{kind}").to(matrix.device) for kind in kinds[name]}
                    if state:
                        self.optimizer.state[matrix] = state
                for (name, _), average in zip(self._matrices(), self.average, strict=False):
                    average.copy_(file.get_tensor(f"{name}{_AVERAGE}"))
                for group, values in zip(self.optimizer.param_groups, optimizer["groups"], strict=True):
                    # the rate is set by every step, and on a GPU it is a tensor that a recorded step reads
                    group.update({key: value for key, value in values.items() if key != "lr"})
        except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(path) from error

    def _matrices(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for layer in self.layers:
            for key, matrix in layer.matrices.items():
                yield f"{layer.name}.{key}", matrix


def _damaged(path: Path) -> TrainingError:
    return TrainingError(
        f"{path}: the state of the training is damaged; delete this folder and run the same command again to start over"
    )
